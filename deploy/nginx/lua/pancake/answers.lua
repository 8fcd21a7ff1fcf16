-- Answers of this edge without an upstream: a refusal, an error within the budget, stored, shed. pancake.delivery
-- decides which one.
local budget = require "pancake.budget"
local limits = require "pancake.limits"
local metrics = require "pancake.metrics"
local network = require "pancake.network"
local request = require "pancake.request"
local spool = require "pancake.spool"

local answer, discard_body = request.answer, request.discard_body

local M = {}

-- Senders without a valid token have their own rate: they use up neither the rate nor the budget of a connection.
function M.admit_stranger()
    return limits.admit("stranger/" .. network.site(ngx.var.remote_addr))
end

-- Whether the address has too many requests open. nginx only counts (limit_conn_dry_run in nginx.conf).
function M.is_excess_request()
    return ngx.var.limit_conn_status == "REJECTED_DRY_RUN"
end

-- Refuse a sender without a valid token. One that has too many requests open gets no answer: nginx closes the
-- connection at once instead of waiting for the rest of the body.
function M.refuse(code, outcome)
    if M.is_excess_request() then
        ngx.ctx.outcome = "too_many_connections"
        ngx.exit(444)
    end
    answer(code, outcome)
    discard_body()
end

function M.refuse_stranger(code, outcome)
    if not M.admit_stranger() then
        code, outcome = 429, "rate_limited"
    end
    M.refuse(code, outcome)
end

function M.shed(folder)
    metrics.count("pancake_edge_shed_total", ('folder="%s"'):format(folder))
    answer(200, "shed")
end

-- Answer with an error if the budget of the connection allows it. Return whether it did.
function M.fail_within_budget(connection, code, outcome)
    if not budget.spend(connection.id) then
        return false
    end
    ngx.ctx.is_failure_counted = true
    answer(code, outcome)
    return true
end

-- Store a delivery and answer 200. If the disk takes no more: an error while the budget allows it, then shed.
function M.store(connection, delivery)
    if spool.put("spool", delivery) then
        answer(200, "spooled")
    elseif not M.fail_within_budget(connection, 503, "spool_full") then
        M.shed("spool")
    end
end

return M
