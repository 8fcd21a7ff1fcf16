-- The suspension budget. Pancake suspends a webhook at 300 failures within 30 minutes (and more than 80 % errors);
-- we keep our own count per connection of what it would call failures and never choose to fail once half is spent.
-- The count is on disk as well, before the failure is answered: a restart must not hand out a second half.
local semaphore = require "ngx.semaphore"
local clock = require "pancake.clock"
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_budget
local JOURNAL, FORMER = settings.state .. "/budget.log", settings.state .. "/budget.log.former"

local MINUTES = settings.budget_minutes
local KEPT_ON_DISK = 2 * settings.budget
local DISK_SECONDS, RETRY_SECONDS = 1, 1

local M = {}

local function key(connection, moment)
    return connection .. "/" .. math.floor(moment / 60)
end

-- Failures counted within the last 30 minutes (up to 31: whole minutes, on the safe side).
function M.used(connection)
    local now, sum = clock.now(), 0
    for age = 0, MINUTES do
        sum = sum + (dict:get(key(connection, now - age * 60)) or 0)
    end
    return sum
end

-- No expiry: minutes that count no more are the first to leave a full memory.
local function add(connection, moment, n)
    dict:incr(key(connection, moment), n, 0)
end

-- Lines of this worker that are not on disk yet go there together: one fsync for all that came during the last one.
local batch -- {noted, spent: lines; waiting, done, written: for those who wait for it}
local writing = false -- whether a write is under way or due

local function open_batch()
    batch = batch or { noted = {}, spent = {}, waiting = 0, done = semaphore.new() }
    return batch
end

local function write_batch()
    local current = batch
    batch = nil
    local written, why = disk.append(JOURNAL, table.concat(current.spent) .. table.concat(current.noted))
    if not written then
        log.error("budget", "failures are not on disk: " .. why)
        if #current.noted > 0 then
            table.insert(open_batch().noted, 1, table.concat(current.noted))
        end
    end
    current.written = written
    current.done:post(current.waiting + 1)
    return written
end

local function write_out()
    local ran, written = xpcall(write_batch, debug.traceback)
    if not ran then
        log.error("budget", written)
        written = false
    end
    writing = batch ~= nil and ngx.timer.at(written and 0 or RETRY_SECONDS, write_out)
end

local function write_soon()
    writing = writing or ngx.timer.at(0, write_out)
end

local function line(connection)
    return ("%d %s\n"):format(ngx.time(), connection)
end

-- A failure that happened anyway (a body that never came, a malformed request). The log phase, where these happen,
-- must not wait for the disk.
function M.note(connection)
    add(connection, clock.now(), 1)
    if M.used(connection) <= KEPT_ON_DISK then
        table.insert(open_batch().noted, line(connection))
        write_soon()
    end
end

local function on_disk(connection)
    local mine = open_batch()
    table.insert(mine.spent, line(connection))
    mine.waiting = mine.waiting + 1
    write_soon()
    return mine.done:wait(DISK_SECONDS) and mine.written
end

-- True if we may answer this delivery with an error; it is then counted, on disk too. Taken first and given back
-- if it was too much, so that two workers can never spend the same one.
function M.spend(connection)
    if M.used(connection) >= settings.budget then
        return false
    end
    local now = clock.now()
    add(connection, now, 1)
    if M.used(connection) <= settings.budget and on_disk(connection) then
        return true
    end
    add(connection, now, -1)
    return false
end

-- In the master, before the first request: what the journals say about the last 30 minutes. A line of the future
-- was written before somebody set the time back: it counts as of now.
function M.restore()
    local now = clock.now()
    if not dict:add("turned_at", now) then
        return
    end
    for _, path in ipairs { FORMER, JOURNAL } do
        for text in (files.read(path) or ""):gmatch("[^\n]+") do
            local at, connection = text:match("^(%d+) (%S+)$")
            local age = at and math.max(0, ngx.time() - at)
            if age and age <= (MINUTES + 1) * 60 then
                add(connection, now - age, 1)
            end
        end
    end
end

-- Now and then: begin a new journal, once nothing in the former one counts any more. Nothing is ever rewritten.
function M.turn()
    local now = clock.now()
    if now - dict:get("turned_at") > (MINUTES + 2) * 60 then
        files.move(JOURNAL, FORMER)
        dict:set("turned_at", now)
    end
end

return M
