-- What happens before the first request: in the master once, then in every worker. Every module is loaded here: one
-- that cannot be loaded stops the start or the reload, not the deliveries.
require "resty.core"
require "pancake.delivery"
require "pancake.ops"
local budget = require "pancake.budget"
local disk = require "pancake.disk"
local drain = require "pancake.drain"
local limits = require "pancake.limits"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local spool = require "pancake.spool"

local DRAIN_SECONDS, TIDY_SECONDS = 60, 60

local M = {}

function M.master()
    metrics.begin()
    policy.restore()
    budget.restore()
    for _, folder in ipairs(spool.folders) do
        spool.list(folder)
    end
end

-- Runs for the life of the worker, round after round, each in a timer of its own: what a round allocated goes
-- with it. `run` returns the seconds until the next; a bug ends one round, not the loop.
local function forever(name, run)
    local function round(premature)
        if premature then
            return
        end
        local ran, pause = xpcall(run, debug.traceback)
        if not ran then
            log.error(name, pause)
        end
        if not ngx.worker.exiting() then
            ngx.timer.at(ran and pause or 1, round)
        end
    end
    ngx.timer.at(0, round)
end

local function tidy()
    spool.sweep()
    spool.probe()
    budget.turn()
    return TIDY_SECONDS
end

local function empty_the_spool()
    drain.run(DRAIN_SECONDS)
    return 0
end

function M.worker()
    limits.reload()
    ngx.timer.every(1, limits.reload)
    spool.begin()
    ngx.timer.at(0, disk.prepare)
    if ngx.worker.id() == 0 then
        forever("tidy", tidy)
        forever("policy", policy.refresh)
        forever("drain", empty_the_spool)
    end
end

return M
