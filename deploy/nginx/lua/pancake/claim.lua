-- Something that one of all workers does at a time. A claim ends when it is released, or by itself: whoever holds it
-- may be killed. Expiry times of shared memory go by the time of day, so they are not what ends it.
local clock = require "pancake.clock"

local GARBAGE_SECONDS = 60

local M = {}

-- True if nobody else has it; it is ours for that many seconds at the most.
function M.take(dict, key, seconds)
    local free_at = dict:get(key) or 0
    if clock.now() < free_at then
        return false
    end
    -- Of those who see it free at this moment, whoever marks the moment first.
    if not dict:add(key .. "/" .. free_at, true, GARBAGE_SECONDS) then
        return false
    end
    dict:set(key, clock.now() + seconds)
    return true
end

-- Free again, at once or that many seconds from now.
function M.release(dict, key, seconds)
    dict:set(key, clock.now() + (seconds or 0))
end

return M
