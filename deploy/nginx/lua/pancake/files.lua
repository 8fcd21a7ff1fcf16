-- Files by FFI: durable writes, listing, renaming. Some functions also run in pool threads, where nginx's Lua API does
-- not exist: this module must need FFI alone.
-- A function that fails returns nil, an error, and whether the reason is a file that does not exist.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

-- Linux with glibc on 64 bits; x86-64 and aarch64 agree on all of it.
ffi.cdef [[
typedef struct { uint64_t ino; int64_t off; uint16_t reclen; uint8_t type; char name[256]; } pancake_dirent;
int open(const char *path, int flags, ...);
int64_t read(int fd, void *buf, size_t n);
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

local WRITE_ONLY, CREATE, EXCLUSIVE, APPEND, CLOSE_ON_EXEC = 1, 64, 128, 1024, 524288 -- O_… of <fcntl.h>
local OWNER_ONLY = ffi.new("int", 384) -- mode 0600; a variadic function needs the C type
local DO_NOT_WAIT = 2048 -- O_NONBLOCK: the open of a pipe would wait for the other end
local DO_NOT_FOLLOW = ffi.arch == "arm64" and 32768 or 131072 -- O_NOFOLLOW, the one that differs
local ENOENT, EISDIR, ELOOP = 2, 21, 40
local READ_BYTES = 65536

local M = {}

-- Results of a failed system call. Read errno first: the next call may change it.
local function failure(operation)
    local errno = ffi.errno()
    return nil, operation .. ": " .. ffi.string(C.strerror(errno)), errno == ENOENT
end

local function write_all(fd, data)
    local position, left_bytes = ffi.cast("const char *", data), #data
    while left_bytes > 0 do
        local written_bytes = tonumber(C.write(fd, position, left_bytes)) -- may be less than asked for
        if written_bytes <= 0 then
            return false
        end
        position, left_bytes = position + written_bytes, left_bytes - written_bytes
    end
    return true
end

local function sync_directory(directory)
    local fd = C.open(directory, CLOSE_ON_EXEC)
    if fd < 0 then
        return failure("open " .. directory)
    end
    local result = C.fsync(fd)
    C.close(fd)
    if result ~= 0 then
        return failure("fsync " .. directory)
    end
    return true
end

local function write_synced(path, flags, data)
    local fd = C.open(path, bit.bor(WRITE_ONLY, CREATE, CLOSE_ON_EXEC, flags), OWNER_ONLY)
    if fd < 0 then
        return failure("open " .. path)
    end
    if not write_all(fd, data) or C.fsync(fd) ~= 0 then
        local _, err = failure("write " .. path)
        C.close(fd)
        return nil, err
    end
    C.close(fd)
    return true
end

-- Return true once the file survives a power failure under its name. After an error there is no such file, unless only
-- the fsync of the directory failed.
function M.write_durable(directory, name, data)
    local temporary, final = directory .. "/.part-" .. name, directory .. "/" .. name
    C.unlink(temporary) -- left by a process that was killed during the same write
    local ok, err = write_synced(temporary, EXCLUSIVE, data)
    if not ok then
        C.unlink(temporary)
        return nil, err
    end
    if C.rename(temporary, final) ~= 0 then
        local _, rename_err = failure("rename " .. temporary)
        C.unlink(temporary)
        return nil, rename_err
    end
    return sync_directory(directory)
end

function M.append(path, text)
    return write_synced(path, bit.bor(APPEND, DO_NOT_WAIT), text)
end

-- Names in a directory for which is_wanted(name) is true, in order. Names of deliveries begin with their time.
function M.list(directory, is_wanted)
    local handle = C.opendir(directory)
    if handle == nil then -- a NULL pointer equals nil but is true in a condition
        return failure("list " .. directory)
    end
    local names = {}
    while true do
        local entry = C.readdir(handle)
        if entry == nil then
            break
        end
        local name = ffi.string(entry.name)
        if is_wanted(name) then
            names[#names + 1] = name
        end
    end
    C.closedir(handle)
    table.sort(names)
    return names
end

function M.read(path)
    local file, err, errno = io.open(path, "rb")
    if not file then
        return nil, err, errno == ENOENT
    end
    local data
    data, err = file:read("*a")
    file:close()
    return data, err
end

local function read_all(fd, max_bytes)
    local buffer, pieces, total_bytes = ffi.new("char[?]", READ_BYTES), {}, 0
    while total_bytes <= max_bytes do
        local read_bytes = tonumber(C.read(fd, buffer, READ_BYTES))
        if read_bytes < 0 then
            local is_directory = ffi.errno() == EISDIR
            local _, err = failure("read")
            return nil, err, false, is_directory
        elseif read_bytes == 0 then
            return table.concat(pieces)
        end
        pieces[#pieces + 1] = ffi.string(buffer, read_bytes)
        total_bytes = total_bytes + read_bytes
    end
    return nil, "larger than " .. max_bytes .. " bytes", false, true
end

local function read_without_waiting(path, max_bytes, flags)
    local fd = C.open(path, bit.bor(DO_NOT_WAIT, CLOSE_ON_EXEC, flags))
    if fd < 0 then
        local is_link = ffi.errno() == ELOOP
        local _, err, is_missing = failure("open " .. path)
        return nil, err, is_missing, is_link
    end
    local data, err, is_missing, is_foreign = read_all(fd, max_bytes)
    C.close(fd)
    return data, err, is_missing, is_foreign
end

-- Read a file that others may have replaced: a pipe is not waited for, the size is limited.
function M.read_limited(path, max_bytes)
    return read_without_waiting(path, max_bytes, 0)
end

-- The same, and a link is not followed. A fourth result says whether the entry itself is the reason, not the disk.
function M.read_untrusted(path, max_bytes)
    return read_without_waiting(path, max_bytes, DO_NOT_FOLLOW)
end

-- Do nothing: a call of it loads this module into a pool thread.
function M.preload()
    return true
end

function M.remove(path)
    if C.unlink(path) ~= 0 then
        return failure("remove " .. path)
    end
    return true
end

function M.move(from, to)
    if C.rename(from, to) ~= 0 then
        return failure("move " .. from)
    end
    return true
end

return M
