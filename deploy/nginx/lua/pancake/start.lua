-- Runs before the first request: once in the master, then in every worker. All modules are loaded here: one that cannot
-- be loaded stops the start or the reload, not the deliveries.
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

local DRAIN_ROUND_SECONDS = 60
local TIDY_INTERVAL_SECONDS = 60
local LIMITS_INTERVAL_SECONDS = 1
local PAUSE_AFTER_ERROR_SECONDS = 1

local M = {}

function M.init()
    metrics.init()
    policy.restore()
    budget.restore()
    for _, folder in ipairs(spool.folders) do
        spool.list(folder) -- counts what is on disk
    end
end

-- Call `run` again and again for the life of the worker. It returns the seconds until the next call. Each call is a
-- new timer, whose memory is freed at its end. An error ends one call, not the loop.
local function run_forever(name, run)
    local function run_once(is_worker_exiting)
        if is_worker_exiting then
            return
        end
        local ok, result = xpcall(run, debug.traceback)
        if not ok then
            log.error(name, result)
        end
        if not ngx.worker.exiting() then
            ngx.timer.at(ok and result or PAUSE_AFTER_ERROR_SECONDS, run_once)
        end
    end
    ngx.timer.at(0, run_once)
end

local function tidy()
    spool.sweep()
    spool.probe()
    budget.rotate_journal()
    return TIDY_INTERVAL_SECONDS
end

local function drain_spool()
    drain.run(DRAIN_ROUND_SECONDS)
    return 0
end

function M.init_worker()
    limits.reload()
    ngx.timer.every(LIMITS_INTERVAL_SECONDS, limits.reload)
    spool.init_worker()
    ngx.timer.at(0, disk.prepare)
    if ngx.worker.id() == 0 then -- one worker is enough for these
        run_forever("tidy", tidy)
        run_forever("policy", policy.refresh)
        run_forever("drain", drain_spool)
    end
end

return M
