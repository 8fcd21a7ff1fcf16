-- The access log: one JSON line per request, written by nginx's access_log, a limited number per second and outcome.
-- And the errors of this program, the first of each second and source. A flood changes counters, not the log's size.
local metrics = require "pancake.metrics"
local request = require "pancake.request"
local settings = require "pancake.settings"
local trace = require "pancake.trace"

local dict = ngx.shared.edge_log

-- Outcomes of requests that nginx answered without Lua.
local OUTCOME_BY_STATUS = { [400] = "bad_request", [408] = "client_timeout", [413] = "too_large",
    [414] = "uri_too_long", [499] = "client_gone", [500] = "error" }

local MAX_METHOD_CHARACTERS = 16 -- nginx accepts any word as a method, however long
local COUNTER_EXPIRY_SECONDS = 2 -- a counter is used within one second

local M = {}

local function is_within_rate(key, max_per_second)
    return dict:incr(key .. "/" .. ngx.time(), 1, 0, COUNTER_EXPIRY_SECONDS) <= max_per_second
end

local function write(_, source, text)
    ngx.log(ngx.EMERG, source, ": ", text)
end

-- Log an error of this program. The public server's error_log takes nothing below emerg, because nginx adds the request
-- line, and with it the token, to its own messages. For the same reason the line is written from a timer: there is no
-- request.
function M.error(source, text)
    if ngx.get_phase() == "init" then -- no timers and no requests yet
        return ngx.log(ngx.ERR, source, ": ", text)
    end
    metrics.count("pancake_edge_errors_total", ('source="%s"'):format(source))
    if is_within_rate("error/" .. source, 1) then
        ngx.timer.at(0, write, source, text)
    end
end

local function finish()
    local delivery = require "pancake.delivery" -- here, not above: delivery requires this module
    local status, ctx = tonumber(ngx.var.status) or 0, ngx.ctx
    local outcome = ctx.outcome or OUTCOME_BY_STATUS[status] or "other"
    local seconds = math.max(0, ngx.now() - ngx.req.start_time())
    local connection = delivery.account_for_failure(status, seconds)
    metrics.count("pancake_webhook_requests_total", ('hop="edge",status="%s",code="%d"'):format(outcome, status))
    metrics.observe("pancake_webhook_latency_seconds", 'hop="edge"', seconds)
    -- All requests without a valid token share one rate.
    local is_logged = is_within_rate("access/" .. (connection and outcome or "of strangers"),
        settings.max_log_lines_per_second)
    if not is_logged then
        metrics.count("pancake_edge_log_suppressed_total", ('outcome="%s"'):format(outcome))
    end
    local var = ngx.var
    var.edge_logged = is_logged and "1" or "0"
    var.edge_method = (var.request_method or ""):sub(1, MAX_METHOD_CHARACTERS)
    var.edge_outcome, var.edge_upstream, var.edge_monitored = outcome, ctx.upstream or "", ctx.monitored or ""
    var.edge_connection = connection and connection.id or ""
    var.edge_record_id = is_logged and ctx.body and request.record_id(ctx.body) or ""
    var.edge_event_id = ctx.event_id or ""
    var.edge_trace_id = is_logged and trace.id_of(request.traceparent()) or ""
end

-- The log phase of every public request, including those that nginx answered without Lua.
function M.finish()
    local ok, err = xpcall(finish, debug.traceback)
    if not ok then
        M.error("log", err)
    end
end

return M
