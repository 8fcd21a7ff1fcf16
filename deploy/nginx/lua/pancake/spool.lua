-- Deliveries on disk: one sealed file each, in three folders under EDGE_STATE_DIR.
--   spool/       taken charge of, to be handed over when a path is back
--   unknown/     token not known while nobody could be asked
--   quarantine/  refused by every path although healthy, or unreadable: kept until a person decides
-- A name is <arrival in ms>-<random>-<size>.sealed: sorted by name is sorted by age.
local cjson = require "cjson.safe"
local crypto = require "pancake.crypto"
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_state

local PROBE, PROBE_BYTES = ".probe", 768 * 1024 -- more than any sealed delivery has
local LIMITS = {
    spool = { files = settings.spool_max_files, bytes = settings.spool_max_bytes },
    unknown = { files = settings.unknown_max_files, bytes = settings.spool_max_bytes },
    quarantine = { files = settings.quarantine_max_files, bytes = settings.spool_max_bytes },
}

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

-- What each worker is just writing into a folder: of its own, so that a killed worker's count goes with it.
local function writing_key(folder, worker)
    return folder .. ".writing." .. worker
end

local function writing(folder)
    local sum = 0
    for worker = 0, ngx.worker.count() - 1 do
        sum = sum + (dict:get(writing_key(folder, worker)) or 0)
    end
    return sum
end

-- At the start of a worker: nothing of it is under way.
function M.begin()
    for _, folder in ipairs(M.folders) do
        dict:set(writing_key(folder, ngx.worker.id()), 0)
    end
end

-- The counts are kept by those who write and remove. They are put right from the folder itself, after somebody was
-- killed or a person moved files, at a moment in which nobody writes.
local function recount(folder, names, puts)
    if writing(folder) > 0 or dict:get(folder .. ".puts") ~= puts then
        return
    end
    local bytes = 0
    for _, name in ipairs(names) do
        bytes = bytes + size_in(name)
    end
    dict:set(folder .. ".files", #names)
    dict:set(folder .. ".bytes", bytes)
end

-- Names in a folder, oldest first.
function M.list(folder)
    local puts = dict:get(folder .. ".puts")
    local names, why = files.list(settings[folder], size_in)
    if not names then
        log.error("spool", why)
        return {}
    end
    recount(folder, names, puts)
    return names
end

local function write(folder, name, sealed)
    local key = writing_key(folder, ngx.worker.id())
    dict:incr(key, 1, 0)
    dict:incr(folder .. ".puts", 1, 0)
    local written, why = disk.write(settings[folder], name, sealed)
    dict:incr(key, -1, 0)
    if not written then
        log.error("spool", "a delivery could not be kept: " .. why)
    end
    return written
end

-- True once the delivery is safely on disk; nil if the folder is full or cannot be written.
function M.put(folder, delivery)
    local text = cjson.encode(delivery)
    local sealed = crypto.seal("delivery", text)
    local limit = LIMITS[folder]
    local held, bytes = account(folder, 1, #sealed)
    local name = ("%013d-%s-%d.sealed"):format(delivery.arrived * 1000, crypto.hex(crypto.random(6)), #sealed)
    if held <= limit.files and bytes <= limit.bytes and write(folder, name, sealed) then
        return true
    end
    account(folder, -1, -#sealed)
    return nil
end

-- The delivery; nil if the file is gone (another process handed it over); nil and why, and whether it is the disk's
-- fault rather than the file's.
function M.get(folder, name)
    local sealed, unread, gone = files.read(settings[folder] .. "/" .. name)
    if not sealed then
        return nil, not gone and unread or nil, not gone
    end
    local text, why = crypto.open("delivery", sealed)
    local delivery = text and cjson.decode(text)
    return delivery, why or "malformed"
end

-- True if it is off the disk, whoever removed it.
function M.remove(folder, name)
    local removed, gone = files.remove(settings[folder] .. "/" .. name)
    if removed then
        account(folder, -1, -size_in(name))
    end
    return removed or gone
end

-- True if it is out of the folder, whoever moved it; nil and why.
function M.set_aside(folder, name)
    local held, bytes = M.held("quarantine")
    if held >= LIMITS.quarantine.files or bytes >= LIMITS.quarantine.bytes then
        return nil, "quarantine is full"
    end
    local moved, gone = files.move(settings[folder] .. "/" .. name, settings.quarantine .. "/" .. name)
    if moved then
        account(folder, -1, -size_in(name))
        account("quarantine", 1, size_in(name))
    end
    return moved or gone, "it cannot be moved"
end

-- Can a delivery be kept at all, the whole way through? Asked before one needs it: a full disk, a folder of
-- somebody else, a program that the workers' user may not read.
function M.probe()
    local writable = true
    for _, folder in ipairs(M.folders) do
        local written, why = disk.write(settings[folder], PROBE, ("x"):rep(PROBE_BYTES))
        if written then
            files.remove(settings[folder] .. "/" .. PROBE)
        else
            writable = false
            log.error("spool", folder .. " takes nothing: " .. why)
        end
    end
    dict:set("writable", writable)
end

-- What the last probe found; nil before the first.
function M.writable()
    return dict:get("writable")
end

local parts = {} -- half-written files that the last sweep saw

-- Once a minute: what a killed process left half written was never answered, and goes. Nobody writes for a minute: what
-- was there the last time too is such a file.
function M.sweep()
    local seen = {}
    for _, folder in ipairs(M.folders) do
        local function is_part(name)
            return name:sub(1, 6) == ".part-"
        end
        for _, name in ipairs(files.list(settings[folder], is_part) or {}) do
            local path = settings[folder] .. "/" .. name
            seen[path] = true
            if parts[path] then
                files.remove(path)
            end
        end
    end
    parts = seen
end

return M
