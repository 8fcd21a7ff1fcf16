-- Files by FFI: durable writes, listing, renaming. write_durable also runs in a worker thread, where nothing
-- of nginx's API exists; so this module needs FFI alone.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

-- Linux with glibc, 64 bits (x86-64 and aarch64 agree on all of it).
ffi.cdef [[
typedef struct { uint64_t ino; int64_t off; uint16_t reclen; uint8_t type; char name[256]; } pancake_dirent;
int open(const char *path, int flags, ...);
int64_t write(int fd, const void *buf, size_t n);
int fsync(int fd);
int close(int fd);
int rename(const char *from, const char *to);
int unlink(const char *path);
void *opendir(const char *path);
pancake_dirent *readdir(void *dir);
int closedir(void *dir);
char *strerror(int number);
]]

local WRITE_ONLY, CREATE, EXCLUSIVE, APPEND, CLOSE_ON_EXEC = 1, 64, 128, 1024, 524288
local NOT_FOUND = 2 -- ENOENT

local M = {}

local function failure(what)
    return nil, what .. ": " .. ffi.string(C.strerror(ffi.errno()))
end

local function write_all(fd, data)
    local position, left = ffi.cast("const char *", data), #data
    while left > 0 do
        local n = tonumber(C.write(fd, position, left))
        if n <= 0 then
            return false
        end
        position, left = position + n, left - n
    end
    return true
end

local function sync_directory(directory)
    local fd = C.open(directory, CLOSE_ON_EXEC)
    if fd < 0 then
        return failure("open " .. directory)
    end
    local synced = C.fsync(fd)
    C.close(fd)
    if synced ~= 0 then
        return failure("fsync " .. directory)
    end
    return true
end

local function write_synced(path, flags, data)
    local fd = C.open(path, bit.bor(WRITE_ONLY, CREATE, CLOSE_ON_EXEC, flags), ffi.new("int", 384)) -- 0600
    if fd < 0 then
        return failure("open " .. path)
    end
    local written = write_all(fd, data) and C.fsync(fd) == 0
    if not written then
        local _, why = failure("write " .. path)
        C.close(fd)
        return nil, why
    end
    C.close(fd)
    return true
end

-- True once the file is on disk under its name, even if the power fails now; else nil and why, and no file, unless it
-- was the directory that could not be synced.
function M.write_durable(directory, name, data)
    local temporary, final = directory .. "/.part-" .. name, directory .. "/" .. name
    C.unlink(temporary) -- of a process that was killed while it wrote the same
    local written, why = write_synced(temporary, EXCLUSIVE, data)
    if not written then
        C.unlink(temporary)
        return nil, why
    end
    if C.rename(temporary, final) ~= 0 then
        local _, reason = failure("rename " .. temporary)
        C.unlink(temporary)
        return nil, reason
    end
    return sync_directory(directory)
end

function M.append(path, line)
    return write_synced(path, APPEND, line)
end

-- Names in the directory for which keep(name) is true, oldest first (names begin with their time).
function M.list(directory, keep)
    local handle = C.opendir(directory)
    if handle == nil then
        return failure("list " .. directory)
    end
    local names = {}
    while true do
        local entry = C.readdir(handle)
        if entry == nil then
            break
        end
        local name = ffi.string(entry.name)
        if keep(name) then
            names[#names + 1] = name
        end
    end
    C.closedir(handle)
    table.sort(names)
    return names
end

-- All of it; or nil, why, and whether there is no such file.
function M.read(path)
    local file, why, number = io.open(path, "rb")
    if not file then
        return nil, why, number == NOT_FOUND
    end
    local data
    data, why = file:read("*a")
    file:close()
    return data, why
end

-- For whoever only wants this module in memory.
function M.loaded()
    return true
end

-- Whether it was removed; and if not, whether there was no such file.
function M.remove(path)
    if C.unlink(path) == 0 then
        return true
    end
    return false, ffi.errno() == NOT_FOUND
end

-- The same of a move.
function M.move(from, to)
    if C.rename(from, to) == 0 then
        return true
    end
    return false, ffi.errno() == NOT_FOUND
end

return M
