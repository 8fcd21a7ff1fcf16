-- The suspension budget. Pancake suspends a webhook at 300 failures within 30 minutes (and more than 80 % errors);
-- we keep our own count per connection of what it would call failures and never choose to fail once half is spent.
-- The count is on disk as well, before the failure is answered: a restart must not hand out a second half.
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_budget
local JOURNAL, FORMER = settings.state .. "/budget.log", settings.state .. "/budget.log.former"

local MINUTES = settings.budget_minutes
local KEPT_ON_DISK = 2 * settings.budget

local unwritten, remembering = {}, false -- lines of this worker that are not on disk yet

local M = {}

local function key(connection, minute)
    return connection .. "/" .. minute
end

-- Failures counted within the last 30 minutes (up to 31: whole minutes, on the safe side).
function M.used(connection, now)
    local minute, sum = math.floor((now or ngx.time()) / 60), 0
    for age = 0, MINUTES do
        sum = sum + (dict:get(key(connection, minute - age)) or 0)
    end
    return sum
end

local function add(connection, now, n)
    dict:incr(key(connection, math.floor(now / 60)), n, 0, (MINUTES + 2) * 60)
end

local function line(connection, now)
    return ("%d %s\n"):format(now, connection)
end

-- From a timer: the log phase, where these happen, must not wait. One write for all that have come together.
local function remember()
    local lines = table.concat(unwritten)
    unwritten = {}
    local written, why = disk.append(JOURNAL, lines)
    if not written then
        table.insert(unwritten, 1, lines)
        log.error("budget", "failures are not on disk yet: " .. why)
    end
    remembering = #unwritten > 0 and ngx.timer.at(written and 0 or 1, remember)
end

-- A failure that happened anyway (a body that never came, a malformed request).
function M.note(connection)
    local now = ngx.time()
    add(connection, now, 1)
    if M.used(connection, now) <= KEPT_ON_DISK then
        unwritten[#unwritten + 1] = line(connection, now)
        remembering = remembering or ngx.timer.at(0, remember)
    end
end

-- True if we may answer this delivery with an error; it is then counted, on disk too. Taken first and given back
-- if it was too much, so that two workers can never spend the same one. wait: seconds for a disk that is busy.
function M.spend(connection, wait)
    local now = ngx.time()
    if M.used(connection, now) >= settings.budget then
        return false
    end
    add(connection, now, 1)
    if M.used(connection, now) <= settings.budget then
        local written, why = disk.append(JOURNAL, line(connection, now), wait)
        if written then
            return true
        end
        log.error("budget", "no failure may be chosen, none can be remembered: " .. why)
    end
    add(connection, now, -1)
    return false
end

-- In the master, before the first request: what the journals say about the last 30 minutes.
function M.restore(now)
    if not dict:add("turned_at", now) then
        return
    end
    for _, path in ipairs { FORMER, JOURNAL } do
        for text in (files.read(path) or ""):gmatch("[^\n]+") do
            local at, connection = text:match("^(%d+) (%S+)$")
            at = tonumber(at)
            if at and at > now - (MINUTES + 1) * 60 and at <= now + 60 then
                add(connection, at, 1)
            end
        end
    end
end

-- Now and then: begin a new journal, once nothing in the former one counts any more. Nothing is ever rewritten.
function M.turn(now)
    if now - dict:get("turned_at") > (MINUTES + 2) * 60 then
        files.move(JOURNAL, FORMER)
        dict:set("turned_at", now)
    end
end

return M
