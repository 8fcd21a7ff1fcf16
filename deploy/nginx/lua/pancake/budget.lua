-- The suspension budget. Pancake suspends a webhook at 300 failures within 30 minutes (and more than 80 % errors);
-- we keep our own count per connection of what it would call failures and never choose to fail once half is spent.
-- The count is on disk as well, before the failure is answered: a restart must not hand out a second half.
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_budget
local journal = settings.state .. "/budget.log"

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
    local written, why = disk.append(journal, lines)
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
-- if it was too much, so that two workers can never spend the same one.
function M.spend(connection)
    local now = ngx.time()
    if M.used(connection, now) >= settings.budget then
        return false
    end
    add(connection, now, 1)
    if M.used(connection, now) <= settings.budget then
        local written, why = disk.append(journal, line(connection, now), 0)
        if written then
            return true
        end
        log.error("budget", "no failure may be chosen, none can be remembered: " .. why)
    end
    add(connection, now, -1)
    return false
end

local function journal_within(now, visit)
    for line in (files.read(journal) or ""):gmatch("[^\n]+") do
        local at, connection = line:match("^(%d+) (%S+)$")
        at = tonumber(at)
        if at and at > now - (MINUTES + 1) * 60 and at <= now + 60 then
            visit(at, connection, line)
        end
    end
end

-- In the master, before the first request: what the journal says about the last 30 minutes.
function M.restore(now)
    if dict:add("restored", true) then
        journal_within(now, function(at, connection) add(connection, at, 1) end)
    end
end

-- In one worker (the file must belong to the workers' user): lines that no longer count are dropped.
function M.compact(now)
    local kept = {}
    journal_within(now, function(_, _, line) kept[#kept + 1] = line .. "\n" end)
    files.remove(journal)
    if #kept > 0 then
        files.append(journal, table.concat(kept))
    end
end

return M
