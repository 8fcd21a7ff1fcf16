-- The suspension budget of each connection. Pancake suspends a webhook after 300 failures within 30 minutes if they are
-- also more than 80 % of its requests. The edge counts the failures that Pancake could count and chooses no further
-- error once half of them are spent. A chosen failure is on disk before it is answered, so that a restart does not
-- start a second budget. Failures of senders that did not prove themselves are counted apart and change no decision.
local semaphore = require "ngx.semaphore"
local clock = require "pancake.clock"
local crypto = require "pancake.crypto"
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_budget
local JOURNAL = settings.state_dir .. "/budget.log"
local FORMER_JOURNAL = settings.state_dir .. "/budget.log.former"

local WINDOW_MINUTES = settings.budget_window_minutes
-- Observed failures beyond this are counted in memory only: more of them change no decision after a restart.
local MAX_FAILURES_ON_DISK = 2 * settings.budget_max_failures
local MAX_JOURNAL_BYTES = 64 * 1024 * 1024 -- half an hour of MAX_FAILURES_ON_DISK for each of 2,000 connections
local WRITE_TIMEOUT_SECONDS = 1
local RETRY_SECONDS = 1

local SEAL_BYTES, RANDOM_BYTES = 15, 6

local UNPROVED = "unproved/" -- before the id of a connection; no id holds a slash
local UNKNOWN, UNKNOWN_AT = "unknown/token", "unknown_at"
local REFUSED, REFUSED_AT, OUTCOME = "refused/", "refused_at/", "outcome/" -- the same

local M = {}

-- One counter per connection and minute.
local function minute_key(connection_id, at)
    return connection_id .. "/" .. math.floor(at / 60)
end

-- Only whole minutes are counted, so the last 30 may be 31: too many rather than too few.
local function count_window(connection_id)
    local now, sum = clock.now(), 0
    for age_minutes = 0, WINDOW_MINUTES do
        sum = sum + (dict:get(minute_key(connection_id, now - age_minutes * 60)) or 0)
    end
    return sum
end

-- Failures within the last 30 minutes that Pancake could count.
function M.used(connection_id)
    return count_window(connection_id)
end

-- Failures within the last 30 minutes with the token of a connection that Pancake did not have.
function M.unproved(connection_id)
    return count_window(UNPROVED .. connection_id)
end

-- Without an expiry time: it would depend on the time of day. Old minutes are evicted first when the memory is full.
local function add(connection_id, at, failures)
    dict:incr(minute_key(connection_id, at), failures, 0)
end

-- Group commit: the journal lines that this worker collects during one write share the next write and its fsync.
local batch -- {observed, chosen: lists of lines; waiting: count of waiting requests; done: semaphore; is_written}
local is_writing = false -- true while a write runs or is scheduled

local function open_batch()
    batch = batch or { observed = {}, chosen = {}, waiting = 0, done = semaphore.new() }
    return batch
end

local function write_batch()
    local current = batch
    batch = nil
    local ok, err = disk.append(JOURNAL, table.concat(current.chosen) .. table.concat(current.observed))
    if not ok then
        log.error("budget", "failures not written: " .. err)
        -- Observed failures happened whether the disk works or not: keep them. Chosen ones are dropped, because their
        -- requests are answered in another way.
        if #current.observed > 0 then
            table.insert(open_batch().observed, 1, table.concat(current.observed))
        end
    end
    current.is_written = ok
    current.done:post(current.waiting + 1) -- one more than needed: a post of 0 is an error
    return ok
end

local function write_pending()
    local ok, result = xpcall(write_batch, debug.traceback)
    if not ok then
        log.error("budget", result)
    end
    is_writing = batch ~= nil and ngx.timer.at(ok and result and 0 or RETRY_SECONDS, write_pending)
end

local function schedule_write()
    is_writing = is_writing or ngx.timer.at(0, write_pending)
end

-- By which a line that this edge wrote is known after a restart.
local function seal_of(text, key)
    return ngx.encode_base64(crypto.hmac_sha256(key, "budget " .. text):sub(1, SEAL_BYTES))
end

-- The journal is read after a restart, when clock.now() may have started again at 0: it holds the time of day. Random
-- bytes make each line another one, so that a copied line counts once.
local function journal_line(connection_id)
    local text = ("%d %s %s"):format(ngx.time(), connection_id, ngx.encode_base64(crypto.random(RANDOM_BYTES)))
    return ("%s %s\n"):format(text, seal_of(text, settings.state_keys[1].key))
end

-- Count a failure that was not chosen: a body that did not arrive, a malformed request. Called in the log phase, which
-- cannot wait for the disk.
function M.observe(connection_id)
    add(connection_id, clock.now(), 1)
    if M.used(connection_id) <= MAX_FAILURES_ON_DISK then
        table.insert(open_batch().observed, journal_line(connection_id))
        schedule_write()
    end
end

-- Count a failure of a sender that did not prove itself. In memory only: it changes no decision.
function M.observe_unproved(connection_id)
    add(UNPROVED .. connection_id, clock.now(), 1)
end

-- Count a delivery that was refused because no connection has its token. In memory only: it changes no decision.
function M.observe_unknown()
    add(UNKNOWN, clock.now(), 1)
    dict:set(UNKNOWN_AT, clock.now())
end

-- Such deliveries within the last 30 minutes, and the seconds since the last one; nil without any.
function M.unknown()
    local last = dict:get(UNKNOWN_AT)
    return count_window(UNKNOWN), last and clock.now() - last
end

-- Count a delivery with the token of a connection that did not pass what it enforces. In memory only, as above.
function M.observe_refused(connection_id, outcome)
    add(REFUSED .. connection_id, clock.now(), 1)
    dict:set(REFUSED_AT .. connection_id, clock.now())
    dict:set(OUTCOME .. connection_id, outcome)
end

-- Such deliveries within the last 30 minutes; with the outcome of the last one, and the seconds since.
function M.refused(connection_id)
    local last = dict:get(REFUSED_AT .. connection_id)
    return count_window(REFUSED .. connection_id), dict:get(OUTCOME .. connection_id), last and clock.now() - last
end

local function write_chosen(connection_id)
    local mine = open_batch()
    table.insert(mine.chosen, journal_line(connection_id))
    mine.waiting = mine.waiting + 1
    schedule_write()
    return mine.done:wait(WRITE_TIMEOUT_SECONDS) and mine.is_written
end

-- Return true if the budget allows to answer with an error. The failure is then counted, on disk too.
function M.spend(connection_id)
    if M.used(connection_id) >= settings.budget_max_failures then
        return false
    end
    local now = clock.now()
    -- Count first and take it back if that was too much: two workers can never spend the same failure.
    add(connection_id, now, 1)
    if M.used(connection_id) <= settings.budget_max_failures and write_chosen(connection_id) then
        return true
    end
    add(connection_id, now, -1)
    return false
end

local function is_sealed(text, seal)
    for _, entry in ipairs(settings.state_keys) do
        if crypto.equal(seal_of(text, entry.key), seal) then
            return true
        end
    end
    return false
end

-- Return time and connection of a line that this edge wrote; nil for another one, and for one that was seen before.
local function read_line(line, seen)
    local text, seal = line:match("^(%d+ %S+ %S+) (%S+)$") -- see journal_line
    if not text or seen[text] or not is_sealed(text, seal) then
        return nil
    end
    seen[text] = true
    return text:match("^(%d+) (%S+)")
end

-- Read the journals. Called in the master before the first request; after a reload the memory is still there.
function M.restore()
    local now, seen, foreign = clock.now(), {}, 0
    if not dict:add("journal_started_at", now) then
        return
    end
    for _, path in ipairs { FORMER_JOURNAL, JOURNAL } do
        local text, err, is_missing = files.read_untrusted(path, MAX_JOURNAL_BYTES)
        if not text and not is_missing then
            log.error("budget", "journal not read: " .. err)
        end
        for line in (text or ""):gmatch("[^\n]+") do
            local at, connection_id = read_line(line, seen)
            -- A time in the future was written before the machine's time was set back: count it as of now.
            local age_seconds = at and math.max(0, ngx.time() - at)
            if not at then
                foreign = foreign + 1
            elseif age_seconds <= (WINDOW_MINUTES + 1) * 60 then
                add(connection_id, now - age_seconds, 1)
            end
        end
    end
    if foreign > 0 then
        log.error("budget", foreign .. " lines of the journal are torn or not of this edge, and do not count")
    end
end

-- Start a new journal once no line of the former one counts any more. Journals are only appended to and replaced.
function M.rotate_journal()
    local now = clock.now()
    if now - dict:get("journal_started_at") > (WINDOW_MINUTES + 2) * 60 then
        files.move(JOURNAL, FORMER_JOURNAL)
        dict:set("journal_started_at", now)
    end
end

return M
