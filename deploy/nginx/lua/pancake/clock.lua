-- Seconds on a clock that is never set, for durations and deadlines. ngx.time and ngx.now jump when the machine's time
-- is corrected: use them only for times that others read.
local ffi = require "ffi"
local C = ffi.C

-- struct timespec of Linux on 64 bits.
ffi.cdef [[
typedef struct { int64_t seconds; int64_t nanoseconds; } pancake_timespec;
int clock_gettime(int clock, pancake_timespec *now);
]]

local CLOCK_BOOTTIME = 7 -- of <time.h>; unlike CLOCK_MONOTONIC it also runs while the machine is suspended
local spec = ffi.new("pancake_timespec")

local M = {}

function M.now()
    C.clock_gettime(CLOCK_BOOTTIME, spec)
    return tonumber(spec.seconds) + tonumber(spec.nanoseconds) * 1e-9
end

return M
