-- One delivery from its first byte to the answer. Read this first: it holds the order of all checks. Each step is a
-- separate module.
local answers = require "pancake.answers"
local budget = require "pancake.budget"
local clock = require "pancake.clock"
local crypto = require "pancake.crypto"
local limits = require "pancake.limits"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local request = require "pancake.request"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local verify = require "pancake.verify"

local answer = request.answer
local fail_within_budget, refuse, refuse_stranger = answers.fail_within_budget, answers.refuse, answers.refuse_stranger
local is_excess_request = answers.is_excess_request
local shed, store = answers.shed, answers.store

-- For asking about the token and for both paths, after the last byte of the request. The target is an answer within two
-- seconds; the rest is for the disk.
local FORWARD_SECONDS = 1.65
-- The timeout that Pancake's documentation advises: a later answer may count as a failure.
local PANCAKE_TIMEOUT_SECONDS = 5

local M = {}

-- The token of a POST to the one route; nil if the request is for something else, which is then answered.
local function token_of_route()
    local token = request.token()
    if not token then
        refuse_stranger(404, "not_found")
        return nil
    end
    if ngx.req.get_method() ~= "POST" then
        refuse_stranger(405, "method_not_allowed")
        return nil
    end
    return token
end

local function verify_request(connection, body)
    return verify.check(connection, { ip = ngx.var.remote_addr, body = body, header = request.header }, ngx.now())
end

-- Return the outcome of the first enforced check that fails, or nil.
local function check_proof(connection, body)
    local outcome, monitored = verify_request(connection, body)
    ngx.ctx.is_proved = outcome == nil
    if monitored then
        ngx.ctx.monitored = monitored
        for check in monitored:gmatch("[^,]+") do
            metrics.count("pancake_edge_monitored_total", ('check="%s"'):format(check))
        end
    end
    return outcome
end

-- Whether the sender of a failed request is Pancake as far as the edge can tell: a POST that proves what its connection
-- enforces. If its body did not arrive, the proofs that need none decide.
local function is_proved(connection)
    if ngx.ctx.is_proved == nil then
        ngx.ctx.is_proved = ngx.req.get_method() == "POST" and verify_request(connection) == nil
    end
    return ngx.ctx.is_proved
end

-- Answer a sender on the deny list with 429. Once the budget is spent its delivery goes to quarantine: an operator
-- decides about it, not the drain.
local function deny(connection, token, arrived_at)
    if not connection then
        return refuse(429, "denied")
    end
    local body = request.read_body(is_excess_request())
    local outcome = check_proof(connection, body)
    if outcome then
        return answer(200, outcome)
    end
    if fail_within_budget(connection, 429, "denied") then
        return
    end
    local delivery = request.to_delivery(token, body, arrived_at)
    delivery.denied = true
    if not spool.put("quarantine", delivery) then
        return shed("quarantine")
    end
    metrics.count("pancake_edge_quarantined_total", 'reason="denied"')
    answer(200, "quarantined")
end

-- Store a delivery whose token could not be confirmed, with the headers that a later check needs.
local function store_unknown(token, arrived_at)
    local delivery = request.to_delivery(token, request.read_body(), arrived_at)
    delivery.proof = request.proof()
    local ok, _, is_too_large = spool.put("unknown", delivery)
    if is_too_large then
        return refuse(200, "too_large")
    elseif not ok then
        return shed("unknown")
    end
    answer(200, "spooled")
end

-- Check, forward and answer a delivery with a valid token.
-- waited_seconds: the time that its sender may already have waited for the confirmation of the token.
local function accept(connection, token, arrived_at, waited_seconds)
    local body = request.read_body(is_excess_request())
    local answer_by = clock.now() + FORWARD_SECONDS - waited_seconds
    local outcome = check_proof(connection, body)
    if outcome then
        budget.observe_refused(connection.id, outcome)
        return answer(200, outcome)
    end
    if is_excess_request() and fail_within_budget(connection, 429, "too_many_connections") then
        return
    end
    local delivery = request.to_delivery(token, body, arrived_at)
    ngx.ctx.delivery = delivery
    if not limits.admit_delivery(delivery.source_ip, connection.id, #policy.connection_ids()) then
        if not fail_within_budget(connection, 429, "rate_limited") then
            store(connection, delivery)
        end
        return
    end
    local result, _, path_name = upstream.forward(delivery, answer_by)
    if not result then
        return store(connection, delivery)
    end
    ngx.ctx.upstream = path_name
    request.answer_result(result)
end

local function handle_unknown_token(token, arrived_at)
    if is_excess_request() or not answers.admit_stranger() then
        return refuse(429, "rate_limited")
    end
    if not request.is_token(token) then
        return refuse(200, "unknown_token")
    end
    local asked_at = clock.now()
    local connection, err = policy.confirm(crypto.sha256_hex(token), arrived_at)
    if err then
        return store_unknown(token, arrived_at)
    end
    if not connection then
        budget.observe_unknown()
        return refuse(200, "unknown_token")
    end
    ngx.ctx.connection = connection
    accept(connection, token, arrived_at, clock.now() - asked_at)
end

local function find_connection(token, arrived_at)
    return request.is_token(token) and policy.find(crypto.sha256_hex(token), arrived_at) or nil
end

local function handle()
    local token = token_of_route()
    if not token then
        return
    end
    local arrived_at = ngx.req.start_time()
    local connection = find_connection(token, arrived_at)
    ngx.ctx.connection = connection
    if limits.is_denied(ngx.var.remote_addr) then
        return deny(connection, token, arrived_at)
    end
    if not connection then
        return handle_unknown_token(token, arrived_at)
    end
    accept(connection, token, arrived_at, 0)
end

-- After an internal error: store what was already read of the delivery, so that it is not lost.
local function recover(err)
    log.error("delivery", err)
    local connection, delivery = ngx.ctx.connection, ngx.ctx.delivery
    if ngx.headers_sent then
        return
    end
    if not connection then
        answer(500, "error")
    elseif delivery then
        store(connection, delivery)
    elseif not fail_within_budget(connection, 500, "error") then
        shed("spool")
    end
end

function M.handle()
    local ok, err = xpcall(handle, debug.traceback)
    if not ok then
        recover(err)
    end
end

-- The connection of a request that handle() did not see or did not read to its end.
local function connection_of_request()
    local token = request.token()
    return token and find_connection(token, ngx.req.start_time())
end

-- Answer a body over the limit without reading it. Deny list and stranger's rate are the same as for others.
function M.too_large()
    if not token_of_route() then
        return
    end
    local connection = connection_of_request()
    if limits.is_denied(ngx.var.remote_addr) then
        if not connection then
            refuse(429, "denied")
        elseif not is_proved(connection) or not fail_within_budget(connection, 429, "denied") then
            answer(200, "too_large")
        end
    elseif connection then
        answer(200, "too_large")
    else
        refuse_stranger(200, "too_large")
    end
end

function M.not_found()
    refuse_stranger(404, "not_found")
end

-- Log phase: count a failure that is not counted yet, against the budget if Pancake could count it. Return the
-- connection of the request, or nil.
function M.account_for_failure(status, seconds)
    local connection = ngx.ctx.connection or connection_of_request()
    local has_failed = status < 200 or status > 299 or seconds > PANCAKE_TIMEOUT_SECONDS
    if connection and has_failed and not ngx.ctx.is_failure_counted then
        (is_proved(connection) and budget.observe or budget.observe_unproved)(connection.id)
    end
    return connection
end

return M
