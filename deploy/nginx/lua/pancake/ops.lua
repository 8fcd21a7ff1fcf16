-- /healthz and /metrics for operators and Prometheus, on the internal listener.
local cjson = require "cjson.safe"
local budget = require "pancake.budget"
local clock = require "pancake.clock"
local crypto = require "pancake.crypto"
local files = require "pancake.files"
local limits = require "pancake.limits"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local settings = require "pancake.settings"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local version = require "pancake.version"

local M = {}

local function refusals()
    local found = {}
    for _, id in ipairs(policy.connection_ids()) do
        local deliveries, outcome, seconds = budget.refused(id)
        if deliveries > 0 and seconds then
            found[id] = { deliveries = deliveries, outcome = outcome, seconds = seconds }
        end
    end
    return found
end

local function skipped_paths()
    local found = {}
    for _, path in ipairs(upstream.paths) do
        if upstream.is_skipped(path.name) then
            found[path.name] = upstream.failed_with(path.name)
        end
    end
    return found
end

-- Answer 200 while this process can take deliveries, in any state of Hasura and the handlers.
function M.healthz()
    ngx.header["Content-Type"] = "application/json"
    local confirmed_at = policy.confirmed_at()
    local unknown_tokens, unknown_seconds = budget.unknown()
    local succeeded_at = upstream.succeeded_at()
    ngx.say(cjson.encode {
        status = "ok", version = version, spool_files = (spool.usage("spool")),
        spool_writable = spool.is_writable(),
        policy_connections = #policy.connection_ids(),
        policy_age_seconds = confirmed_at and math.floor(clock.now() - confirmed_at) or cjson.null,
        unknown_tokens = unknown_tokens, unknown_token_seconds = unknown_seconds or cjson.null,
        refused = refusals(), skipped = skipped_paths(),
        delivered_seconds = succeeded_at and clock.now() - succeeded_at or cjson.null,
    })
end

local function add_spool_gauges(add)
    spool.list("quarantine") -- corrects the counts if an operator moved files out of it
    for _, folder in ipairs(spool.folders) do
        add("pancake_edge_spool_files", "Deliveries on disk, by folder.", ('folder="%s"'):format(folder),
            (spool.usage(folder)))
    end
    for _, folder in ipairs(spool.folders) do
        add("pancake_edge_spool_bytes", "Bytes on disk, by folder.", ('folder="%s"'):format(folder),
            select(2, spool.usage(folder)))
    end
    add("pancake_edge_spool_writable", "1 if the last test write, once a minute, succeeded in every folder.", "",
        spool.is_writable() == false and 0 or 1)
    add("pancake_edge_spool_limit_files", "Maximum number of deliveries in the spool.", "", settings.spool_max_files)
    add("pancake_edge_spool_limit_bytes", "Maximum number of bytes in the spool.", "", settings.spool_max_bytes)
end

local function add_upstream_gauges(add)
    for _, path in ipairs(upstream.paths) do
        add("pancake_edge_upstream_skipped", "1 while this path is skipped because it failed.",
            ('upstream="%s"'):format(path.name), upstream.is_skipped(path.name) and 1 or 0)
    end
end

local function add_policy_gauges(add)
    for _, id in ipairs(policy.connection_ids()) do
        add("pancake_edge_budget_used", "Failures of the last 30 minutes that Pancake could count.",
            ('connection="%s"'):format(id), budget.used(id))
    end
    for _, id in ipairs(policy.connection_ids()) do
        add("pancake_edge_unproved_failures", "Failures of the last 30 minutes with a valid token, not of Pancake.",
            ('connection="%s"'):format(id), budget.unproved(id))
    end
    add("pancake_edge_budget_limit", "Maximum number of chosen failures within 30 minutes: half of what suspends.", "",
        settings.budget_max_failures)
    local confirmed_at = policy.confirmed_at()
    add("pancake_edge_policy_age_seconds", "Time since the handlers last confirmed the policy; -1 if never.", "",
        confirmed_at and clock.now() - confirmed_at or -1)
end

local function add_limit_gauges(add)
    add("pancake_edge_rate_limit", "Requests per second that one address may send.", "", limits.rate_per_second())
    add("pancake_edge_denied_ranges", "Entries of the active deny list.", "", limits.count_denied_ranges())
end

-- When the token of a JWT ends, 0 if it does not say.
local function token_ends(token)
    local payload = token:match("^[^.]+%.([^.]+)%.")
    local text = payload and ngx.decode_base64((payload:gsub("-", "+"):gsub("_", "/")))
    local claims = text and cjson.decode(text)
    return type(claims) == "table" and tonumber(claims.exp) or 0
end

local function add_end_gauges(add)
    add("pancake_edge_token_ends_timestamp_seconds", "When HASURA_EDGE_TOKEN ends; 0 if it does not say.", "",
        token_ends(settings.hasura_token))
    local pem = files.read(settings.certificate_file)
    local seconds = pem and crypto.certificate_seconds(pem)
    if seconds then -- without one TLS ends in front of the edge
        add("pancake_edge_certificate_ends_timestamp_seconds", "When the certificate of the edge ends.", "",
            math.floor(ngx.time() + seconds))
    end
end

function M.metrics()
    local gauges = {}
    local function add(name, help, labels, value)
        gauges[#gauges + 1] = { name, help, labels, value }
    end
    add_spool_gauges(add)
    add_upstream_gauges(add)
    add_policy_gauges(add)
    add_limit_gauges(add)
    add_end_gauges(add)
    ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    ngx.print(metrics.render(gauges))
end

return M
