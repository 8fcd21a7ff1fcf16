-- Counters and histograms in memory shared by all workers; a series is stored under its Prometheus text.
local dict = ngx.shared.edge_metrics

local BOUNDS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5 }

local M = {}

-- Everything there is, by name: {type, help}. What is not listed here cannot be counted.
M.families = {
    pancake_webhook_requests_total = { "counter", "Deliveries answered at the edge, by outcome and HTTP status." },
    pancake_webhook_latency_seconds = { "histogram", "Time from the first byte of a request to our answer." },
    pancake_edge_upstream_seconds = { "histogram", "Time of one attempt on a path, by its result (ok, refused, down)." },
    pancake_edge_monitored_total = { "counter", "Deliveries let through that enforce would have refused." },
    pancake_edge_drained_total = { "counter", "Spooled deliveries handed over, by folder and answer." },
    pancake_edge_quarantined_total = { "counter", "Deliveries set aside for a person to look at." },
    pancake_edge_shed_total = { "counter", "Deliveries answered 200 that the folder could not take: polling must bring them." },
    pancake_edge_policy_refresh_total = { "counter", "Fetches of the policy from the handlers, by result." },
    pancake_edge_errors_total = { "counter", "Errors of our own program; the log has the first of each second." },
    pancake_edge_log_suppressed_total = { "counter", "Log lines left out because there were too many in a second." },
}

-- Counters that alerts look at: there at 0 before the first event, which would else be no increase.
local AT_ZERO = {
    { "pancake_edge_shed_total", 'folder="spool"' },
    { "pancake_edge_shed_total", 'folder="unknown"' },
    { "pancake_edge_shed_total", 'folder="quarantine"' },
    { "pancake_edge_quarantined_total", 'reason="refused"' },
    { "pancake_edge_quarantined_total", 'reason="unreadable"' },
    { "pancake_edge_quarantined_total", 'reason="denied"' },
}

local function series(name, labels)
    assert(M.families[name], name)
    return name .. "{" .. labels .. "}"
end

-- In the master, at start; a reload changes nothing.
function M.begin()
    for _, each in ipairs(AT_ZERO) do
        dict:add(series(each[1], each[2]), 0)
    end
end

function M.count(name, labels)
    dict:incr(series(name, labels), 1, 0)
end

-- One counter per bucket, each value in its lowest bucket only; rendering adds them up.
function M.observe(name, labels, seconds)
    local bucket = "+Inf"
    for _, bound in ipairs(BOUNDS) do
        if seconds <= bound then
            bucket = tostring(bound)
            break
        end
    end
    dict:incr(series(name, labels) .. "\0" .. bucket, 1, 0)
    dict:incr(series(name, labels) .. "\0sum", seconds, 0)
end

local function histogram(lines, name, labels, buckets)
    local total = 0
    for _, bound in ipairs(BOUNDS) do
        total = total + (buckets[tostring(bound)] or 0)
        lines[#lines + 1] = ('%s_bucket{%s,le="%s"} %d'):format(name, labels, bound, total)
    end
    total = total + (buckets["+Inf"] or 0)
    lines[#lines + 1] = ('%s_bucket{%s,le="+Inf"} %d'):format(name, labels, total)
    lines[#lines + 1] = ("%s_sum{%s} %.6f"):format(name, labels, buckets.sum or 0)
    lines[#lines + 1] = ("%s_count{%s} %d"):format(name, labels, total)
end

local function collected()
    local families = {}
    for _, key in ipairs(dict:get_keys(0)) do
        local name, labels, bucket = key:match("^([%w_]+){(.-)}%z?(.*)$")
        local family = families[name] or {}
        families[name] = family
        if M.families[name][1] == "histogram" then
            family[labels] = family[labels] or {}
            family[labels][bucket] = dict:get(key)
        else
            family[labels] = dict:get(key)
        end
    end
    return families
end

-- Prometheus text. gauges: list of {name, help, labels, value} taken by the caller at this moment.
function M.render(gauges)
    local lines, seen = {}, {}
    local families = collected()
    for name, about in pairs(M.families) do
        lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s %s"):format(name, about[2], name, about[1])
        for labels, value in pairs(families[name] or {}) do
            if about[1] == "histogram" then
                histogram(lines, name, labels, value)
            else
                lines[#lines + 1] = ("%s{%s} %d"):format(name, labels, value)
            end
        end
    end
    for _, gauge in ipairs(gauges) do
        local name, help, labels, value = gauge[1], gauge[2], gauge[3], gauge[4]
        if not seen[name] then
            seen[name] = true
            lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s gauge"):format(name, help, name)
        end
        lines[#lines + 1] = ("%s{%s} %s"):format(name, labels, value)
    end
    return table.concat(lines, "\n") .. "\n"
end

return M
