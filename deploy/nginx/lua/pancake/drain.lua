-- Hand over stored deliveries, oldest first and at a limited rate, while live traffic goes on. One worker does it, with
-- a few light threads that share one queue.
local clock = require "pancake.clock"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local policy = require "pancake.policy"
local settings = require "pancake.settings"
local spool = require "pancake.spool"
local upstream = require "pancake.upstream"
local verify = require "pancake.verify"

local THREADS = 4
local IDLE_SECONDS = 0.25 -- pause after a delivery that was not handed over, or if there is none
local MIN_PAUSE_SECONDS = 0.001 -- after one that was: lets other requests of this worker run
local RETRY_SECONDS = 5
local MAX_FAILED_ATTEMPTS = 3
local UNREMOVABLE_RETRY_SECONDS = 600
local UNREADABLE_RETRY_SECONDS = 60
local LISTED_PER_SECOND = 5000 -- how soon a listing is made anew, so that what came meanwhile gets its turn

local M = {}

-- All of these survive a round, in the one worker that drains.
local retries = {} -- name -> {failed_attempts, last_failed_at, retry_at}
local queue, position, listed_at = {}, 1, 0 -- the last listing of both folders, the next item, when that was
local in_progress = {} -- names that a thread works on
local first_seen_at = {} -- name in unknown/ -> time of the first listing with it
local returned = {} -- items that no path could be asked about: taken again before younger ones

local function count(folder, outcome)
    metrics.count("pancake_edge_drained_total", ('folder="%s",outcome="%s"'):format(folder, outcome))
end

-- The disk failed: do not read or hand over the same file again at once.
local function postpone(name, seconds, err)
    log.error("spool", err)
    retries[name] = { failed_attempts = 0, retry_at = clock.now() + seconds }
    return "delayed"
end

local function discard(folder, name)
    local ok, err = spool.remove(folder, name)
    if not ok then
        return postpone(name, UNREMOVABLE_RETRY_SECONDS, "delivery not removed: " .. name .. ": " .. err)
    end
    return "moved"
end

local function quarantine(folder, name, reason)
    local ok, err = spool.quarantine(folder, name)
    if not ok then
        postpone(name, UNREMOVABLE_RETRY_SECONDS, "delivery not quarantined: " .. name .. ": " .. err)
        return
    end
    retries[name] = nil
    metrics.count("pancake_edge_quarantined_total", ('reason="%s"'):format(reason))
    log.error("quarantine", "delivery quarantined: " .. name .. ": " .. reason)
end

-- A path received the delivery and did not take it: let others go first for some seconds.
local function delay(name)
    local retry = retries[name] or { failed_attempts = 0 }
    retry.retry_at = clock.now() + math.min(RETRY_SECONDS, settings.skip_seconds)
    retries[name] = retry
    return retry
end

-- Every path received the delivery and none took it. Such an attempt counts only if a path has taken another delivery
-- since the last one: then the delivery is the reason, not the paths.
local function note_failed_attempt(folder, name)
    local retry = delay(name)
    if not retry.last_failed_at or (upstream.succeeded_at() or 0) > retry.last_failed_at then
        retry.failed_attempts = retry.failed_attempts + 1
    end
    retry.last_failed_at = clock.now()
    if retry.failed_attempts >= MAX_FAILED_ATTEMPTS then
        quarantine(folder, name, "refused")
    end
end

-- Forward a delivery. Return "moved" if it left its folder, "delayed" if it is tried again later, "stuck" if no path
-- received it.
local function hand_over(folder, name, delivery)
    local result, _, received_by = upstream.forward(delivery)
    if result then
        retries[name] = nil
        count(folder, result.status)
        return discard(folder, name)
    end
    if received_by == #upstream.paths then
        note_failed_attempt(folder, name)
    elseif received_by > 0 then
        delay(name)
    end
    return received_by > 0 and "delayed" or "stuck"
end

local function stored_header(delivery, field)
    if delivery.headers then -- a file of an older version
        return delivery.headers[field]
    end
    local value = (delivery.proof or {})[field]
    return value and ngx.decode_base64(value)
end

-- Settle a delivery whose token was unknown when it arrived. is_due() has made sure that the policy is newer than the
-- delivery: a token that is still unknown stays so. A known one must prove what its connection demanded at its arrival.
local function settle_unknown(name, delivery)
    local connection = policy.find(delivery.token_sha256, delivery.arrived)
    local outcome = "unknown_token"
    if connection then
        local request = {
            ip = delivery.source_ip, body = ngx.decode_base64(delivery.raw),
            header = function(field) return stored_header(delivery, field) end,
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
    local delivery, err, is_disk_error = spool.get(folder, name)
    if is_disk_error then
        return postpone(name, UNREADABLE_RETRY_SECONDS, "delivery not read: " .. name .. ": " .. err)
    end
    if not delivery then
        if err then
            quarantine(folder, name, "unreadable")
        end
        return "moved"
    end
    if folder == "unknown" then
        return settle_unknown(name, delivery)
    end
    return hand_over(folder, name, delivery)
end

-- A delivery in unknown/ waits for a policy that was fetched after its first listing, and so after its arrival.
local function is_due(folder, name, now)
    if in_progress[name] or (retries[name] and retries[name].retry_at > now) then
        return false
    end
    return folder == "spool" or policy.confirmed_after(first_seen_at[name])
end

-- Order items so that each token gives one in turn, its oldest first: one that left many does not keep others waiting.
-- Those of unknown/ come after all of spool/: a stranger may invent many tokens. Those that were tried before come
-- last: each listing would begin with them.
local function in_turns(items)
    local places, counts = {}, {}
    for i, item in ipairs(items) do
        local turn = spool.turn_of(item.name)
        counts[turn] = (counts[turn] or 0) + 1
        places[item] = { retries[item.name] and 1 or 0, item.folder == "spool" and 0 or 1, counts[turn], i }
    end
    table.sort(items, function(a, b)
        local first, second = places[a], places[b]
        for i = 1, 3 do
            if first[i] ~= second[i] then
                return first[i] < second[i]
            end
        end
        return first[4] < second[4]
    end)
    return items
end

local function refill_queue()
    queue, position, listed_at = {}, 1, clock.now()
    local seen_before = first_seen_at
    first_seen_at = {} -- a new table: names that are gone are forgotten
    for _, folder in ipairs { "spool", "unknown" } do
        local names = spool.list(folder)
        local now = clock.now()
        for _, name in ipairs(names) do
            if folder == "unknown" then
                first_seen_at[name] = seen_before[name] or now
            end
            if is_due(folder, name, now) then
                queue[#queue + 1] = { folder = folder, name = name }
            end
        end
    end
    queue = in_turns(queue)
end

local function return_item(item)
    returned[#returned + 1] = item
    table.sort(returned, function(a, b) return a.name < b.name end)
end

local function next_item()
    if #returned > 0 then
        return table.remove(returned, 1)
    end
    if position > #queue or clock.now() > listed_at + 1 + #queue / LISTED_PER_SECOND then
        refill_queue()
    end
    local item = queue[position]
    if item then
        position = position + 1
        in_progress[item.name] = true
    end
    return item
end

-- Settle one delivery. Return whether it left its folder.
local function settle_item(item)
    local ok, result = pcall(settle, item.folder, item.name)
    if not ok then
        log.error("drain", "delivery failed: " .. item.name .. ": " .. tostring(result))
        note_failed_attempt(item.folder, item.name)
        result = "delayed"
    end
    if result == "stuck" then
        return_item(item) -- stays in in_progress, so that a listing does not queue it twice
    else
        in_progress[item.name] = nil
    end
    return result == "moved"
end

local function work(ends_at)
    while not ngx.worker.exiting() and clock.now() < ends_at do
        -- Each thread has its share of the rate.
        local due_at = clock.now() + THREADS / settings.max_drained_per_second
        local item = next_item()
        local is_moved = item and settle_item(item)
        ngx.sleep(math.max(due_at - clock.now(), is_moved and MIN_PAUSE_SECONDS or IDLE_SECONDS))
    end
end

-- Drain for that time or until the worker exits. The next round continues at the same position: deliveries behind many
-- that are stuck get their turn too.
function M.run(seconds)
    local threads, ends_at = {}, clock.now() + seconds
    for i = 1, THREADS do
        threads[i] = ngx.thread.spawn(work, ends_at)
    end
    for _, thread in ipairs(threads) do
        local ok, err = ngx.thread.wait(thread)
        if not ok then
            log.error("drain", tostring(err))
        end
    end
end

return M
