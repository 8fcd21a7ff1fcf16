-- Durable writes from a request or a timer: in nginx's thread pool, so that a slow disk never stops the event loop.
local semaphore = require "ngx.semaphore"

local AT_ONCE = 16 -- lua_worker_thread_vm_pool_size: nginx refuses one more instead of queueing it, so we queue
local WAIT_SECONDS = 1

local writers

local M = {}

local function run(write, ...)
    writers = writers or semaphore.new(AT_ONCE)
    local admitted, busy = writers:wait(WAIT_SECONDS)
    if not admitted then
        return nil, busy
    end
    local ran, written, why = ngx.run_worker_thread("spool", "pancake.files", write, ...)
    writers:post(1)
    if not ran then
        return nil, tostring(written)
    end
    return written, why
end

-- True once the file is on disk under its name; nil and why.
function M.write(directory, name, data)
    return run("write_durable", directory, name, data)
end

-- True once the line is on disk at the end of the file; nil and why.
function M.append(path, line)
    return run("append", path, line)
end

return M
