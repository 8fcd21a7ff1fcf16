-- Hands spooled deliveries over, oldest first and at a bounded rate, while live traffic goes on.
-- One worker does it, with a few threads that share one queue.
local clock = require "pancake.clock"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local settings = require "pancake.settings"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local verify = require "pancake.verify"

local THREADS = 4
local IDLE_SECONDS = 0.25
local RETRY_SECONDS = 5
local ATTEMPTS = 3
local UNREMOVABLE_SECONDS, UNREADABLE_SECONDS = 600, 60

local M = {}

local failures = {} -- name -> {count, last_at, again_at}: not before again_at
local queue, position = {}, 1
local in_hand = {} -- names that one of the threads is at
local first_seen = {} -- name in unknown/ -> when we saw it first
local returned = {} -- what could not be handed over yet: taken again before anything younger

local function count(folder, outcome)
    metrics.count("pancake_edge_drained_total", ('folder="%s",outcome="%s"'):format(folder, outcome))
end

-- The disk will not have it: the same file must not be read or handed over again and again.
local function leave(name, seconds, why)
    log.error("spool", name .. " " .. why)
    failures[name] = { count = 0, again_at = clock.now() + seconds }
    return "delayed"
end

local function discard(folder, name)
    return spool.remove(folder, name) and "moved" or leave(name, UNREMOVABLE_SECONDS, "cannot be removed")
end

local function set_aside(folder, name, reason)
    local moved, why = spool.set_aside(folder, name)
    if not moved then
        return leave(name, UNREMOVABLE_SECONDS, "is not set aside: " .. why)
    end
    failures[name] = nil
    metrics.count("pancake_edge_quarantined_total", ('reason="%s"'):format(reason))
    log.error("quarantine", name .. " was set aside: " .. reason)
end

-- A path had it and did not take it: others go first for a while.
local function delay(name)
    local seen = failures[name] or { count = 0 }
    seen.again_at = clock.now() + math.min(RETRY_SECONDS, settings.skip_seconds)
    failures[name] = seen
    return seen
end

-- Every path had it and none took it. That counts only if some path has taken another delivery since the time
-- before: then it is this delivery that is odd, not the paths that are ill.
local function failed(folder, name)
    local seen = delay(name)
    if not seen.last_at or (upstream.succeeded_at() or 0) > seen.last_at then
        seen.count = seen.count + 1
    end
    seen.last_at = clock.now()
    if seen.count >= ATTEMPTS then
        set_aside(folder, name, "refused")
    end
end

-- What became of it: "moved"; "delayed"; or "stuck", as no path could even be asked.
local function hand_over(folder, name, delivery)
    local answer, heard_by = upstream.forward(delivery)
    if answer then
        failures[name] = nil
        count(folder, answer.status)
        return discard(folder, name)
    end
    if heard_by == #upstream.paths then
        failed(folder, name)
    elseif heard_by > 0 then
        delay(name)
    end
    return heard_by > 0 and "delayed" or "stuck"
end

-- An unknown token: final once a policy confirmed after the arrival still does not know it (`ready`); else the
-- delivery must prove what it would have had to prove when it came.
local function settle_unknown(name, delivery)
    local connection = policy.find(delivery.token, delivery.arrived)
    local outcome = "unknown_token"
    if connection then
        local request = {
            ip = delivery.source_ip, body = ngx.decode_base64(delivery.raw),
            header = function(field) return (delivery.headers or {})[field] end,
        }
        outcome = verify.check(connection, request, delivery.arrived)
    end
    if outcome then
        count("unknown", outcome)
        return discard("unknown", name)
    end
    return hand_over("unknown", name, delivery)
end

local function settle(folder, name)
    local delivery, why, of_disk = spool.get(folder, name)
    if of_disk then
        return leave(name, UNREADABLE_SECONDS, "cannot be read: " .. why)
    end
    if not delivery then
        if why then
            set_aside(folder, name, "unreadable")
        end
        return "moved"
    end
    if folder == "unknown" then
        return settle_unknown(name, delivery)
    end
    return hand_over(folder, name, delivery)
end

-- An unknown token waits until somebody was asked about it: after we saw it here, and so after it came.
local function ready(folder, name, now)
    if in_hand[name] or (failures[name] and failures[name].again_at > now) then
        return false
    end
    return folder == "spool" or policy.confirmed_after(first_seen[name])
end

local function refill()
    queue, position = {}, 1
    local seen = first_seen
    first_seen = {}
    for _, folder in ipairs { "spool", "unknown" } do
        local names = spool.list(folder)
        local now = clock.now()
        for _, name in ipairs(names) do
            if folder == "unknown" then
                first_seen[name] = seen[name] or now
            end
            if ready(folder, name, now) then
                queue[#queue + 1] = { folder = folder, name = name }
            end
        end
    end
end

local function give_back(item)
    returned[#returned + 1] = item
    table.sort(returned, function(a, b) return a.name < b.name end)
end

local function next_item()
    if #returned > 0 then
        return table.remove(returned, 1)
    end
    if position > #queue then
        refill()
    end
    local item = queue[position]
    if item then
        position = position + 1
        in_hand[item.name] = true
    end
    return item
end

-- One delivery within its share of the rate; whether it went its way.
local function step(item)
    local ran, became = pcall(settle, item.folder, item.name)
    if not ran then
        log.error("drain", item.name .. ": " .. tostring(became))
        failed(item.folder, item.name)
        became = "delayed"
    end
    if became == "stuck" then
        give_back(item)
    else
        in_hand[item.name] = nil
    end
    return became == "moved"
end

local function work(ends_at)
    while not ngx.worker.exiting() and clock.now() < ends_at do
        local due = clock.now() + THREADS / settings.drain_per_second
        local item = next_item()
        local moved = item and step(item)
        ngx.sleep(math.max(due - clock.now(), moved and 0.001 or IDLE_SECONDS))
    end
end

-- For that long, or until the worker ends. The next time goes on where this one stopped: what is behind many that
-- are stuck must have its turn too.
function M.run(seconds)
    local threads, ends_at = {}, clock.now() + seconds
    for i = 1, THREADS do
        threads[i] = ngx.thread.spawn(work, ends_at)
    end
    for _, thread in ipairs(threads) do
        local ended, problem = ngx.thread.wait(thread)
        if not ended then
            log.error("drain", tostring(problem))
        end
    end
end

return M
