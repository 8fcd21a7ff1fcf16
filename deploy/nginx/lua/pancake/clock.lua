-- Seconds on a clock that nobody sets: for whatever lasts. When something happened, for others to read, is told by
-- ngx.time and ngx.now; those jump when the machine's time is corrected.
local ffi = require "ffi"
local C = ffi.C

-- Linux, 64 bits.
ffi.cdef [[
typedef struct { int64_t seconds; int64_t nanoseconds; } pancake_timespec;
int clock_gettime(int clock, pancake_timespec *now);
]]

local BOOTTIME = 7 -- CLOCK_BOOTTIME: runs on while the machine is suspended
local spec = ffi.new("pancake_timespec")

local M = {}

function M.now()
    C.clock_gettime(BOOTTIME, spec)
    return tonumber(spec.seconds) + tonumber(spec.nanoseconds) * 1e-9
end

return M
