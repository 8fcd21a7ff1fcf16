-- A lease in shared memory for work that only one worker does at a time. It ends when it is released or when its time
-- is over, because the worker that holds it may be killed. Expiry times of shared memory follow the time of day, so the
-- end of the lease is stored as a value instead.
local clock = require "pancake.clock"

local MARK_EXPIRY_SECONDS = 60 -- cleans up marks that are no longer needed; nothing depends on the exact time

local M = {}

-- Return true if the lease was free. It is then held for `seconds` at most.
function M.take(dict, key, seconds)
    local free_at = dict:get(key) or 0
    if clock.now() < free_at then
        return false
    end
    -- Several workers may see the same free_at. `add` is atomic: it succeeds for one of them.
    if not dict:add(key .. "/" .. free_at, true, MARK_EXPIRY_SECONDS) then
        return false
    end
    dict:set(key, clock.now() + seconds)
    return true
end

-- Free the lease, after a pause if `seconds` is given.
function M.release(dict, key, seconds)
    dict:set(key, clock.now() + (seconds or 0))
end

return M
