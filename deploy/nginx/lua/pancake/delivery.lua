-- One delivery from its first byte to our answer. Read this first; every step is a module of its own.
local budget = require "pancake.budget"
local clock = require "pancake.clock"
local files = require "pancake.files"
local limits = require "pancake.limits"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local network = require "pancake.network"
local policy = require "pancake.policy"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local verify = require "pancake.verify"

local PREFIX = "/api/pancake/record/"
local MAX_TOKEN = 128
local BODY_SECONDS = 10
local ANSWER_SECONDS = 1.65 -- for the paths, of the two seconds we allow ourselves: the rest is for the disk
local PANCAKE_WAITS_SECONDS = 5 -- what its documentation advises; whatever took longer may count as a failure

local M = {}

local function answer(code, outcome, more)
    ngx.ctx.outcome = outcome
    local text = '{"status":"' .. outcome .. '"' .. (more or "") .. "}"
    ngx.status = code
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = #text
    if code == 429 or code == 503 then
        ngx.header["Retry-After"] = 1
    elseif code == 405 then
        ngx.header["Allow"] = "POST"
    end
    ngx.print(text)
end

-- Strangers have a rate of their own: they can use up neither the quota nor the budget of a valid token.
local function admits_stranger()
    return limits.admit("stranger/" .. network.site(ngx.var.remote_addr))
end

-- What is left of a body that nobody wants. A malformed one raises; the sender has its answer all the same.
local function discard_body()
    pcall(ngx.req.discard_body)
end

local function turn_away(code, outcome)
    answer(code, outcome)
    discard_body()
end

local function turn_away_within_rate(code, outcome)
    if not admits_stranger() then
        code, outcome = 429, "rate_limited"
    end
    turn_away(code, outcome)
end

-- What the handlers say beside the status.
local function details(taken)
    local id, code = tonumber(taken.event_id), taken.error_code
    return (',"event_id":%s,"error_code":%s'):format(
        id and ("%.0f"):format(id) or "null",
        type(code) == "string" and code:match("^[%w_]+$") and '"' .. code .. '"' or "null")
end

-- The last segment as it was sent, percent-decoded once; nil if the path is not ours.
local function token_in(uri)
    local path = uri:match("^[^?]*")
    if path:sub(1, #PREFIX) ~= PREFIX then
        return nil
    end
    local segment = path:sub(#PREFIX + 1)
    if segment == "" or segment:find("/", 1, true) then
        return nil
    end
    return ngx.unescape_uri((segment:gsub("%+", "%%2B")))
end

-- The token of a request to our one route; nil once another request has its answer.
local function token_asked_for()
    local token = token_in(ngx.var.request_uri)
    if not token then
        return turn_away_within_rate(404, "not_found")
    end
    if ngx.req.get_method() ~= "POST" then
        return turn_away_within_rate(405, "method_not_allowed")
    end
    return token
end

-- What could be a token at all: only this is looked up, forwarded or kept.
local function plausible(token)
    return #token <= MAX_TOKEN and token:match("^[%w_-]+$") ~= nil
end

local function time_out()
    ngx.sleep(BODY_SECONDS)
    ngx.exit(408)
end

-- nginx waits for each next byte, so somebody who sends one now and then would be waited for without an end.
local function read_body()
    local watch = ngx.thread.spawn(time_out)
    ngx.req.read_body()
    ngx.thread.kill(watch)
    local body = ngx.req.get_body_data()
    if body then
        return body
    end
    local file = ngx.req.get_body_file()
    return file and assert(files.read(file)) or ""
end

-- By lower-case name. One that comes twice proves nothing, and nginx bounds their size.
local function single_headers()
    local kept = {}
    for name, value in pairs(ngx.req.get_headers(0)) do
        if type(value) == "string" then
            kept[name] = value
        end
    end
    return kept
end

local function iso(seconds)
    return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(seconds)) .. (".%03dZ"):format(math.floor(seconds * 1000) % 1000)
end

local function delivery_of(token, body, arrived)
    return {
        token = token, raw = ngx.encode_base64(body), source_ip = ngx.var.remote_addr,
        arrived = arrived, arrived_at = iso(arrived),
    }
end

local function shed(folder)
    metrics.count("pancake_edge_shed_total", ('folder="%s"'):format(folder))
    return answer(200, "shed")
end

local function fail_within_budget(connection, code, outcome)
    if not budget.spend(connection.id) then
        return false
    end
    ngx.ctx.spent = true
    answer(code, outcome)
    return true
end

-- Kept on disk and answered 200. When the disk takes no more: an error while the budget lasts, then shed.
local function keep(connection, delivery)
    if spool.put("spool", delivery) then
        return answer(200, "spooled")
    end
    return fail_within_budget(connection, 503, "spool_full") or shed("spool")
end

local function header_of_request(name)
    return ngx.var["http_" .. name:gsub("-", "_")]
end

-- The answer to a delivery that does not prove what its connection enforces, or nil.
local function refusal(connection, body)
    local request = { ip = ngx.var.remote_addr, body = body, header = header_of_request }
    local refused, monitored = verify.check(connection, request, ngx.now())
    if monitored then
        ngx.ctx.monitored = monitored
        for check in monitored:gmatch("[^,]+") do
            metrics.count("pancake_edge_monitored_total", ('check="%s"'):format(check))
        end
    end
    return refused
end

-- On the deny list: 429, and once the budget is spent set aside where a person decides, not the drain.
local function deny(connection, token, arrived)
    if not connection then
        return turn_away(429, "denied")
    end
    if fail_within_budget(connection, 429, "denied") then
        return discard_body()
    end
    local body = read_body()
    local refused = refusal(connection, body)
    if refused then
        return answer(200, refused)
    end
    local delivery = delivery_of(token, body, arrived)
    delivery.denied = true
    if spool.put("quarantine", delivery) then
        metrics.count("pancake_edge_quarantined_total", 'reason="denied"')
        return answer(200, "quarantined")
    end
    return shed("quarantine")
end

-- Nobody could be asked about this token: kept apart, with what a later check needs.
local function keep_unknown(token, arrived)
    local delivery = delivery_of(token, read_body(), arrived)
    delivery.headers = single_headers()
    if spool.put("unknown", delivery) then
        return answer(200, "spooled")
    end
    return shed("unknown")
end

-- asking: seconds that its sender may have waited already.
local function accept(connection, token, arrived, asking)
    local body = read_body()
    local answer_by = clock.now() + ANSWER_SECONDS - asking
    local refused = refusal(connection, body)
    if refused then
        return answer(200, refused)
    end
    local delivery = delivery_of(token, body, arrived)
    ngx.ctx.delivery = delivery
    if not limits.admit("delivery/" .. delivery.source_ip) then
        return fail_within_budget(connection, 429, "rate_limited") or keep(connection, delivery)
    end
    local taken, path = upstream.forward(delivery, answer_by)
    if not taken then
        return keep(connection, delivery)
    end
    ngx.ctx.upstream = path
    return answer(200, taken.status, details(taken))
end

local function stranger(token, arrived)
    if not admits_stranger() then
        return turn_away(429, "rate_limited")
    end
    if not plausible(token) then
        return turn_away(200, "unknown_token")
    end
    local asked = clock.now()
    local connection, certain = policy.confirm(token, arrived)
    if connection then
        ngx.ctx.connection = connection
        return accept(connection, token, arrived, clock.now() - asked)
    end
    if not certain then
        return keep_unknown(token, arrived)
    end
    return turn_away(200, "unknown_token")
end

-- Whether the sender has more requests open than one address may; if so, it is answered where that costs us nothing.
local function crowded_out(connection)
    if ngx.var.limit_conn_status ~= "REJECTED_DRY_RUN" then
        return false
    end
    if not connection then
        turn_away(429, "too_many_connections")
        return true
    end
    if fail_within_budget(connection, 429, "too_many_connections") then
        discard_body()
        return true
    end
    return false
end

local function route()
    local token = token_asked_for()
    if not token then
        return
    end
    local arrived = ngx.req.start_time()
    local connection = plausible(token) and policy.find(token, arrived) or nil
    ngx.ctx.connection = connection
    if limits.denied(ngx.var.remote_addr) then
        return deny(connection, token, arrived)
    end
    if crowded_out(connection) then
        return
    end
    if not connection then
        return stranger(token, arrived)
    end
    return accept(connection, token, arrived, 0)
end

-- A bug of ours must not cost a delivery: what was already read is kept.
local function rescue(problem)
    log.error("delivery", problem)
    local connection, delivery = ngx.ctx.connection, ngx.ctx.delivery
    if ngx.headers_sent then
        return
    end
    if connection and delivery then
        return keep(connection, delivery)
    end
    if not connection then
        return answer(500, "error")
    end
    return fail_within_budget(connection, 500, "error") or shed("spool")
end

function M.handle()
    local ran, problem = xpcall(route, debug.traceback)
    if not ran then
        rescue(problem)
    end
end

-- Of a request that was not read through.
local function connection_of_request()
    local token = token_in(ngx.var.request_uri or "")
    return token and plausible(token) and policy.find(token, ngx.req.start_time()) or nil
end

-- A body beyond the limit is not read, but its sender is held to the same rules.
function M.too_large()
    if not token_asked_for() then
        return
    end
    local connection = connection_of_request()
    if limits.denied(ngx.var.remote_addr) then
        if not connection then
            return answer(429, "denied")
        end
        return fail_within_budget(connection, 429, "denied") or answer(200, "too_large")
    end
    if not connection then
        return turn_away_within_rate(200, "too_large")
    end
    return answer(200, "too_large")
end

function M.not_found()
    turn_away_within_rate(404, "not_found")
end

-- For the log phase: whose delivery this was, and a failure on the books if Pancake would call it one and we
-- have not counted it yet.
function M.account_for_failure(status, seconds)
    local connection = ngx.ctx.connection or connection_of_request()
    local failed = status < 200 or status > 299 or seconds > PANCAKE_WAITS_SECONDS
    if connection and failed and not ngx.ctx.spent then
        budget.note(connection.id)
    end
    return connection
end

return M
