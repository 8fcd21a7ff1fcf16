-- Deliveries on disk: one sealed file each, in three folders under EDGE_STATE_DIR.
--   spool/       accepted while no path was available; the drain hands them over later
--   unknown/     the token was unknown and the handlers could not be asked
--   quarantine/  refused by every working path, unreadable, or from a denied sender; an operator decides
-- A file name is <arrival in ms>-<random>-<size in bytes>.sealed: the order of names is the order of arrival. The
-- random part begins with a digest of the token, so that the drain can let tokens take turns without opening files.
local cjson = require "cjson.safe"
local crypto = require "pancake.crypto"
local disk = require "pancake.disk"
local files = require "pancake.files"
local log = require "pancake.log"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_state

-- Larger than any sealed delivery of a known connection: 256 KiB in base64, of which JSON may double each character.
local MAX_SEALED_BYTES = 768 * 1024
local PROBE_NAME = ".probe" -- of MAX_SEALED_BYTES: on a nearly full disk an empty file would still fit
local CAPACITY = {
    spool = { max_files = settings.spool_max_files, max_bytes = settings.spool_max_bytes },
    unknown = { max_files = settings.unknown_max_files, max_bytes = settings.spool_max_bytes },
    quarantine = { max_files = settings.quarantine_max_files, max_bytes = settings.spool_max_bytes },
}
local NAME_RANDOM_BYTES = 6
local TURN_DIGITS = 8 -- of the digest of a token in a name

local M = { folders = { "spool", "unknown", "quarantine" } }

local function path_of(folder, name)
    return settings.folder_paths[folder] .. "/" .. name
end

-- The size in bytes that a file name states; nil if it is not the name of a delivery. One that states more than any
-- delivery has would fill its folder.
local function size_in(name)
    local size_bytes = tonumber(name:match("^%d+%-%x+%-(%d+)%.sealed$"))
    return size_bytes and size_bytes <= MAX_SEALED_BYTES and size_bytes or nil
end

-- Add to the counts of a folder and return them: files, bytes.
local function account(folder, file_count, bytes)
    local held_files = dict:incr(folder .. ".files", file_count, 0)
    return held_files, dict:incr(folder .. ".bytes", bytes, 0)
end

-- Return files, bytes. A count may be negative for a moment, until recount() corrects it.
function M.usage(folder)
    return math.max(dict:get(folder .. ".files") or 0, 0), math.max(dict:get(folder .. ".bytes") or 0, 0)
end

-- The number of running writes is kept per worker: a killed worker's number is reset when its successor starts.
local function writing_key(folder, worker_id)
    return folder .. ".writing." .. worker_id
end

local function count_running_writes(folder)
    local sum = 0
    for worker_id = 0, ngx.worker.count() - 1 do
        sum = sum + (dict:get(writing_key(folder, worker_id)) or 0)
    end
    return sum
end

function M.init_worker()
    for _, folder in ipairs(M.folders) do
        dict:set(writing_key(folder, ngx.worker.id()), 0)
    end
end

-- Correct the counts of a folder from its listing: a process may have been killed, or an operator may have moved files.
-- Skipped if a file was written since the listing began (`puts` differs) or is being written.
local function recount(folder, names, puts)
    if count_running_writes(folder) > 0 or dict:get(folder .. ".puts") ~= puts then
        return
    end
    local bytes = 0
    for _, name in ipairs(names) do
        bytes = bytes + size_in(name)
    end
    dict:set(folder .. ".files", #names)
    dict:set(folder .. ".bytes", bytes)
end

-- What a name says of the token, whose deliveries have a turn together.
function M.turn_of(name)
    return name:match("^%d+%-(%x+)"):sub(1, TURN_DIGITS)
end

-- Names in a folder, oldest first; empty if it cannot be read.
function M.list(folder)
    local puts = dict:get(folder .. ".puts")
    local names, err = files.list(settings.folder_paths[folder], size_in)
    if not names then
        log.error("spool", "folder not read: " .. err)
        return {}
    end
    recount(folder, names, puts)
    return names
end

local function write(folder, name, sealed)
    local key = writing_key(folder, ngx.worker.id())
    dict:incr(key, 1, 0)
    dict:incr(folder .. ".puts", 1, 0)
    local ok, err = disk.write(settings.folder_paths[folder], name, sealed)
    dict:incr(key, -1, 0)
    if not ok then
        log.error("spool", "delivery not stored: " .. err)
    end
    return ok, err
end

-- Return true once the delivery is on disk; nil and an error if the folder is full or cannot be written. The third
-- result says that the delivery could not be read back.
function M.put(folder, delivery)
    local sealed = crypto.seal("delivery", cjson.encode(delivery))
    if #sealed > MAX_SEALED_BYTES then
        return nil, "larger than what is read back", true
    end
    local capacity = CAPACITY[folder]
    local name = ("%013d-%s%s-%d.sealed"):format(
        delivery.arrived * 1000, delivery.token_sha256:sub(1, TURN_DIGITS),
        crypto.hex(crypto.random(NAME_RANDOM_BYTES)), #sealed)
    -- Count first and take it back after an error: many requests at once cannot exceed the capacity.
    local held_files, held_bytes = account(folder, 1, #sealed)
    local ok, err = nil, folder .. " is full"
    if held_files <= capacity.max_files and held_bytes <= capacity.max_bytes then
        ok, err = write(folder, name, sealed)
    end
    if not ok then
        account(folder, -1, -#sealed)
        return nil, err
    end
    return true
end

-- Return the delivery; nil if the file is gone (another process handed it over); else nil, an error, and whether the
-- disk failed rather than the content.
function M.get(folder, name)
    local sealed, err, is_missing, is_foreign = files.read_untrusted(path_of(folder, name), MAX_SEALED_BYTES)
    if is_missing then
        return nil
    end
    if not sealed then
        return nil, err, not is_foreign
    end
    local text
    text, err = crypto.open("delivery", sealed)
    local delivery = text and cjson.decode(text)
    if type(delivery) ~= "table" then
        return nil, err or "not a JSON object"
    end
    return delivery
end

-- Return true once the file is gone, also if another process removed it; else nil and an error.
function M.remove(folder, name)
    local ok, err, is_missing = files.remove(path_of(folder, name))
    if ok then
        account(folder, -1, -size_in(name))
    end
    if ok or is_missing then
        return true
    end
    return nil, err
end

-- Move a delivery to quarantine. Return true once it is out of its folder, also if another process moved it; else nil
-- and an error.
function M.quarantine(folder, name)
    local held_files, held_bytes = M.usage("quarantine")
    if held_files >= CAPACITY.quarantine.max_files or held_bytes >= CAPACITY.quarantine.max_bytes then
        return nil, "quarantine is full"
    end
    local ok, err, is_missing = files.move(path_of(folder, name), path_of("quarantine", name))
    if ok then
        account(folder, -1, -size_in(name))
        account("quarantine", 1, size_in(name))
    end
    if ok or is_missing then
        return true
    end
    return nil, err
end

-- Write a test file into every folder, before a delivery depends on it. Finds a full disk, wrong permissions, and a
-- program that the workers' user may not read.
function M.probe()
    local is_writable = true
    for _, folder in ipairs(M.folders) do
        local ok, err = disk.write(settings.folder_paths[folder], PROBE_NAME, ("x"):rep(MAX_SEALED_BYTES))
        if ok then
            files.remove(path_of(folder, PROBE_NAME))
        else
            is_writable = false
            log.error("spool", "folder not writable: " .. folder .. ": " .. err)
        end
    end
    dict:set("writable", is_writable)
end

-- The result of the last probe; nil before the first.
function M.is_writable()
    return dict:get("writable")
end

local function is_partial(name)
    return name:sub(1, 6) == ".part-" -- see files.write_durable
end

local partial_paths = {} -- files that were partial at the last sweep

-- Remove files that a killed process left incomplete; none of them was answered. Called once a minute: a write takes
-- less, so a file that was partial at the last call too is no longer being written.
function M.sweep()
    local seen = {}
    for _, folder in ipairs(M.folders) do
        for _, name in ipairs(files.list(settings.folder_paths[folder], is_partial) or {}) do
            local path = path_of(folder, name)
            seen[path] = true
            if partial_paths[path] then
                files.remove(path)
            end
        end
    end
    partial_paths = seen
end

return M
