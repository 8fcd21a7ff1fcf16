-- Deliveries on disk: one sealed file each, in three folders under EDGE_STATE_DIR.
--   spool/       taken charge of, to be handed over when a path is back
--   unknown/     token not known while nobody could be asked
--   quarantine/  refused by every path although healthy, or unreadable: kept until a person decides
-- A name is <arrival in ms>-<random>-<size>.sealed: sorted by name is sorted by age.
local cjson = require "cjson.safe"
local semaphore = require "ngx.semaphore"
local crypto = require "pancake.crypto"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_state

local STALE_SECONDS = 60
local WRITERS = 16 -- lua_worker_thread_vm_pool_size
local WAIT_SECONDS = 1
local LIMITS = {
    spool = { files = settings.spool_max_files, bytes = settings.spool_max_bytes },
    unknown = { files = settings.unknown_max_files, bytes = settings.spool_max_bytes },
    quarantine = { files = settings.quarantine_max_files, bytes = settings.spool_max_bytes },
}

local writers

local M = { folders = { "spool", "unknown", "quarantine" } }

local function size_in(name)
    return tonumber(name:match("^%d+%-%x+%-(%d+)%.sealed$"))
end

local function account(folder, count, bytes)
    local held = dict:incr(folder .. ".files", count, 0)
    return held, dict:incr(folder .. ".bytes", bytes, 0)
end

function M.held(folder)
    return math.max(dict:get(folder .. ".files") or 0, 0), math.max(dict:get(folder .. ".bytes") or 0, 0)
end

function M.arrival(name)
    return tonumber(name:match("^%d+")) / 1000
end

-- Names in a folder, oldest first; counts the folder anew on the way, with what is just being written.
function M.list(folder)
    local names, why = files.list(settings[folder], size_in)
    if not names then
        log.error("spool", why)
        return {}
    end
    local bytes = 0
    for _, name in ipairs(names) do
        bytes = bytes + size_in(name)
    end
    dict:set(folder .. ".files", #names + (dict:get(folder .. ".writing") or 0))
    dict:set(folder .. ".bytes", bytes)
    return names
end

-- Nginx refuses a thread beyond its pool instead of queueing it: we queue.
local function write(folder, name, sealed)
    writers = writers or semaphore.new(WRITERS)
    local admitted, busy = writers:wait(WAIT_SECONDS)
    if not admitted then
        log.error("spool", "a delivery could not be kept: " .. busy)
        return nil
    end
    local ran, written, why = ngx.run_worker_thread("spool", "pancake.files", "write_durable", settings[folder], name, sealed)
    writers:post(1)
    if ran and written then
        return true
    end
    log.error("spool", "a delivery could not be kept: " .. tostring(ran and why or written))
    return nil
end

-- True once the delivery is safely on disk; nil if the folder is full or cannot be written.
function M.put(folder, delivery)
    local text = cjson.encode(delivery)
    local sealed = crypto.seal("delivery", text)
    local limit = LIMITS[folder]
    local held, bytes = account(folder, 1, #sealed)
    local name = ("%013d-%s-%d.sealed"):format(delivery.arrived * 1000, crypto.hex(crypto.random(6)), #sealed)
    if held <= limit.files and bytes <= limit.bytes then
        dict:incr(folder .. ".writing", 1, 0)
        local written = write(folder, name, sealed)
        dict:incr(folder .. ".writing", -1, 0)
        if written then
            return true
        end
    end
    account(folder, -1, -#sealed)
    return nil
end

-- The delivery, or nil and why. A file that is gone (another process handed it over) is nil without a reason.
function M.get(folder, name)
    local sealed = files.read(settings[folder] .. "/" .. name)
    if not sealed then
        return nil
    end
    local text, why = crypto.open("delivery", sealed)
    local delivery = text and cjson.decode(text)
    return delivery, why or "malformed"
end

function M.remove(folder, name)
    if files.remove(settings[folder] .. "/" .. name) then
        account(folder, -1, -size_in(name))
    end
end

function M.set_aside(folder, name)
    if files.move(settings[folder] .. "/" .. name, settings.quarantine .. "/" .. name) then
        account(folder, -1, -size_in(name))
        account("quarantine", 1, size_in(name))
        return true
    end
end

-- At start: what a killed process left half written was never answered, and goes. A worker that starts beside
-- others leaves alone what they may still be writing.
function M.sweep()
    local stale = (ngx.now() - STALE_SECONDS) * 1000
    local function is_stale_part(name)
        local arrival = name:match("^%.part%-(%d+)")
        return arrival ~= nil and tonumber(arrival) < stale
    end
    for _, folder in ipairs(M.folders) do
        for _, name in ipairs(files.list(settings[folder], is_stale_part) or {}) do
            files.remove(settings[folder] .. "/" .. name)
        end
    end
end

return M
