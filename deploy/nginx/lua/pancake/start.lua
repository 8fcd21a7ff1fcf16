-- What happens before the first request: in the master once, then in every worker.
require "resty.core"
local budget = require "pancake.budget"
local drain = require "pancake.drain"
local limits = require "pancake.limits"
local log = require "pancake.log"
local policy = require "pancake.policy"
local spool = require "pancake.spool"

local M = {}

function M.master()
    policy.restore()
    budget.restore(ngx.time())
    for _, folder in ipairs(spool.folders) do
        spool.list(folder)
    end
end

-- Runs for the life of the worker; a bug ends one round, not the loop.
local function forever(name, run)
    local function round(premature)
        if premature then
            return
        end
        local ran, problem = xpcall(run, debug.traceback)
        if not ran then
            log.error(name, problem)
        end
        if not ngx.worker.exiting() then
            ngx.timer.at(1, round)
        end
    end
    ngx.timer.at(0, round)
end

function M.worker()
    limits.reload()
    ngx.timer.every(1, limits.reload)
    if ngx.worker.id() == 0 then
        budget.compact(ngx.time())
        spool.sweep()
        ngx.timer.every(60, spool.sweep)
        forever("policy", policy.refresh_forever)
        forever("drain", drain.run_forever)
    end
end

return M
