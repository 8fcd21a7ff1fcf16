-- Counters and histograms in memory shared by all workers. The key of a series is its Prometheus text.
local dict = ngx.shared.edge_metrics

local BUCKET_SECONDS = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5 }

local M = {}

-- All counters and histograms, by name: {type, help}.
M.families = {
    pancake_webhook_requests_total = { "counter", "Requests answered by the edge, by outcome and HTTP status." },
    pancake_webhook_latency_seconds = { "histogram", "Time from the first byte of a request to the answer." },
    pancake_edge_upstream_seconds = { "histogram", "Time of one attempt on a path, by result (ok, refused, down)." },
    pancake_edge_monitored_total = { "counter", "Deliveries accepted in monitor mode that enforce would refuse." },
    pancake_edge_drained_total = { "counter", "Spooled deliveries handed over, by folder and outcome." },
    pancake_edge_quarantined_total = { "counter", "Deliveries moved to quarantine, by reason." },
    pancake_edge_shed_total = { "counter", "Deliveries answered 200 but not stored; only polling brings them." },
    pancake_edge_policy_refresh_total = { "counter", "Requests for the policy to the handlers, by result." },
    pancake_edge_errors_total = { "counter", "Internal errors; the log has the first of each second and source." },
    pancake_edge_log_suppressed_total = { "counter", "Access log lines not written because of the rate limit." },
}

-- Counters that alerts use. They start at 0: increase() sees nothing of a series that appears with its first event.
local AT_ZERO = {
    { "pancake_edge_shed_total", 'folder="spool"' },
    { "pancake_edge_shed_total", 'folder="unknown"' },
    { "pancake_edge_shed_total", 'folder="quarantine"' },
    { "pancake_edge_quarantined_total", 'reason="refused"' },
    { "pancake_edge_quarantined_total", 'reason="unreadable"' },
    { "pancake_edge_quarantined_total", 'reason="denied"' },
}

-- The same for every error that a request can get, by outcome: first those that this program answers, then those of
-- nginx, which pancake.log names.
local ERRORS = {
    denied = { 429 }, error = { 500 }, method_not_allowed = { 405 }, not_found = { 404 }, rate_limited = { 429 },
    spool_full = { 503 }, too_many_connections = { 429, 444 },
    bad_request = { 400 }, client_gone = { 499 }, client_timeout = { 408 }, too_large = { 413 }, uri_too_long = { 414 },
    other = { 405, 501, 505 },
}

-- The same for the histograms that alerts read.
local PATHS, RESULTS = { "hasura", "handlers" }, { "ok", "refused", "down" }

local function series_key(name, labels)
    assert(M.families[name], name)
    return name .. "{" .. labels .. "}"
end

-- Called in the master at start. `add` keeps the values that are there after a reload.
function M.init()
    for _, series in ipairs(AT_ZERO) do
        dict:add(series_key(series[1], series[2]), 0)
    end
    for outcome, codes in pairs(ERRORS) do
        for _, code in ipairs(codes) do
            dict:add(series_key("pancake_webhook_requests_total",
                ('hop="edge",status="%s",code="%d"'):format(outcome, code)), 0)
        end
    end
    dict:add(series_key("pancake_webhook_latency_seconds", 'hop="edge"') .. "\0sum", 0)
    for _, path in ipairs(PATHS) do
        for _, result in ipairs(RESULTS) do
            dict:add(series_key("pancake_edge_upstream_seconds",
                ('upstream="%s",result="%s"'):format(path, result)) .. "\0sum", 0)
        end
    end
end

function M.count(name, labels)
    dict:incr(series_key(name, labels), 1, 0)
end

-- Each value is counted in its lowest bucket only: one write per value. render() makes the buckets cumulative.
function M.observe(name, labels, seconds)
    local bucket = "+Inf"
    for _, bound in ipairs(BUCKET_SECONDS) do
        if seconds <= bound then
            bucket = tostring(bound)
            break
        end
    end
    dict:incr(series_key(name, labels) .. "\0" .. bucket, 1, 0)
    dict:incr(series_key(name, labels) .. "\0sum", seconds, 0)
end

local function render_histogram(lines, name, labels, buckets)
    local total = 0
    for _, bound in ipairs(BUCKET_SECONDS) do
        total = total + (buckets[tostring(bound)] or 0)
        lines[#lines + 1] = ('%s_bucket{%s,le="%s"} %d'):format(name, labels, bound, total)
    end
    total = total + (buckets["+Inf"] or 0)
    lines[#lines + 1] = ('%s_bucket{%s,le="+Inf"} %d'):format(name, labels, total)
    lines[#lines + 1] = ("%s_sum{%s} %.6f"):format(name, labels, buckets.sum or 0)
    lines[#lines + 1] = ("%s_count{%s} %d"):format(name, labels, total)
end

-- Read the shared memory: name -> labels -> value, for a histogram name -> labels -> bucket -> value.
local function collect()
    local families = {}
    for _, key in ipairs(dict:get_keys(0)) do -- 0: all keys, not the first 1024
        local name, labels, bucket = key:match("^([%w_]+){(.-)}%z?(.*)$") -- %z is the NUL before a bucket
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

local function render_gauges(lines, gauges)
    local seen = {}
    for _, gauge in ipairs(gauges) do
        local name, help, labels, value = gauge[1], gauge[2], gauge[3], gauge[4]
        if not seen[name] then
            seen[name] = true
            lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s gauge"):format(name, help, name)
        end
        lines[#lines + 1] = ("%s{%s} %s"):format(name, labels, value)
    end
end

-- Return all series as Prometheus text. gauges: list of {name, help, labels, value}, those of one name in a row.
function M.render(gauges)
    local lines = {}
    local values = collect()
    for name, family in pairs(M.families) do
        lines[#lines + 1] = ("# HELP %s %s\n# TYPE %s %s"):format(name, family[2], name, family[1])
        for labels, value in pairs(values[name] or {}) do
            if family[1] == "histogram" then
                render_histogram(lines, name, labels, value)
            else
                lines[#lines + 1] = ("%s{%s} %d"):format(name, labels, value)
            end
        end
    end
    render_gauges(lines, gauges)
    return table.concat(lines, "\n") .. "\n"
end

return M
