-- What operators and Prometheus see, on the internal listener.
local cjson = require "cjson.safe"
local budget = require "pancake.budget"
local clock = require "pancake.clock"
local limits = require "pancake.limits"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local settings = require "pancake.settings"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local version = require "pancake.version"

local M = {}

-- 200 while this process can take deliveries, whatever the state of those behind it.
function M.healthz()
    ngx.header["Content-Type"] = "application/json"
    local confirmed = policy.confirmed_at()
    ngx.say(cjson.encode {
        status = "ok", version = version, spool_files = (spool.held("spool")),
        spool_writable = spool.writable(),
        policy_connections = #policy.connection_ids(),
        policy_age_seconds = confirmed and math.floor(clock.now() - confirmed) or cjson.null,
    })
end

local function gauges()
    local list = {}
    local function add(name, help, labels, value)
        list[#list + 1] = { name, help, labels, value }
    end
    spool.list("quarantine") -- a person may have moved files out of it
    for _, folder in ipairs(spool.folders) do
        add("pancake_edge_spool_files", "Deliveries on disk, by folder.", ('folder="%s"'):format(folder), (spool.held(folder)))
    end
    for _, folder in ipairs(spool.folders) do
        add("pancake_edge_spool_bytes", "Bytes on disk, by folder.", ('folder="%s"'):format(folder), select(2, spool.held(folder)))
    end
    add("pancake_edge_spool_writable", "1 if each folder took a file when last tried, once a minute.", "",
        spool.writable() == false and 0 or 1)
    add("pancake_edge_spool_limit_files", "Deliveries that fit into the spool.", "", settings.spool_max_files)
    add("pancake_edge_spool_limit_bytes", "Bytes that fit into the spool.", "", settings.spool_max_bytes)
    for _, path in ipairs(upstream.paths) do
        add("pancake_edge_upstream_skipped", "1 while this path is skipped because it failed.",
            ('upstream="%s"'):format(path.name), upstream.skipping(path.name) and 1 or 0)
    end
    for _, id in ipairs(policy.connection_ids()) do
        add("pancake_edge_budget_used", "Failures within 30 minutes that Pancake would count.",
            ('connection="%s"'):format(id), budget.used(id))
    end
    add("pancake_edge_budget_limit", "Failures we allow ourselves within 30 minutes: half of what suspends.", "", settings.budget)
    local confirmed = policy.confirmed_at()
    add("pancake_edge_policy_age_seconds", "Since the policy was last confirmed; -1 if never.", "",
        confirmed and clock.now() - confirmed or -1)
    add("pancake_edge_rate_limit", "Requests per second that one address may send.", "", limits.current().rate)
    add("pancake_edge_denied_ranges", "Entries of the deny list in force.", "", #limits.current().deny)
    return list
end

function M.metrics()
    ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    ngx.print(metrics.render(gauges()))
end

return M
