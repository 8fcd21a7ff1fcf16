-- One JSON line per request (by nginx's access_log), a bounded number of them per second and outcome; and our own
-- errors, the first of each second and source. A flood changes counters, not the size of the log.
local metrics = require "pancake.metrics"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_log

local OF_NGINX = { [400] = "bad_request", [408] = "client_timeout", [413] = "too_large", [414] = "uri_too_long",
    [499] = "client_gone", [500] = "error" }

local METHOD_LENGTH = 16 -- nginx takes any word for one, as long as a line

local M = {}

local function within(key, per_second)
    return dict:incr(key .. "/" .. ngx.time(), 1, 0, 2) <= per_second
end

local function write(premature, source, text)
    ngx.log(ngx.EMERG, source, ": ", text)
end

-- Written as emerg: the public server's error log takes nothing less, since nginx adds to its own lines the line of the
-- request, and with it the token. From a timer, where there is no such line.
function M.error(source, text)
    if ngx.get_phase() == "init" then
        return ngx.log(ngx.ERR, source, ": ", text)
    end
    metrics.count("pancake_edge_errors_total", ('source="%s"'):format(source))
    if within("error/" .. source, 1) then
        ngx.timer.at(0, write, source, text)
    end
end

local function finish()
    local delivery = require "pancake.delivery"
    local status, ctx = tonumber(ngx.var.status) or 0, ngx.ctx
    local outcome = ctx.outcome or OF_NGINX[status] or "other"
    local seconds = math.max(0, ngx.now() - ngx.req.start_time())
    local connection = delivery.account_for_failure(status, seconds)
    metrics.count("pancake_webhook_requests_total", ('hop="edge",status="%s",code="%d"'):format(outcome, status))
    metrics.observe("pancake_webhook_latency_seconds", 'hop="edge"', seconds)
    local logged = within("access/" .. (connection and outcome or "of strangers"), settings.log_per_second)
    if not logged then
        metrics.count("pancake_edge_log_suppressed_total", ('outcome="%s"'):format(outcome))
    end
    local var = ngx.var
    var.edge_logged = logged and "1" or "0"
    var.edge_method = (var.request_method or ""):sub(1, METHOD_LENGTH)
    var.edge_outcome, var.edge_upstream, var.edge_monitored = outcome, ctx.upstream or "", ctx.monitored or ""
    var.edge_connection = connection and connection.id or ""
end

-- The log phase of every public request, also of those that nginx answered by itself.
function M.finish()
    local ran, problem = xpcall(finish, debug.traceback)
    if not ran then
        M.error("log", problem)
    end
end

return M
