-- Durable writes from a request or a timer: in nginx's thread pool, so that a slow disk never stops the event loop.
local semaphore = require "ngx.semaphore"

local AT_ONCE = 16 -- lua_worker_thread_vm_pool_size: nginx refuses one more instead of queueing it, so we queue
local WAIT_SECONDS = 1

local writers

local M = {}

-- An exiting worker waits for timers, not for threads of the pool: without one the sender would hear nothing.
local function stay()
    ngx.sleep(60)
end

local function run(wait, write, ...)
    writers = writers or semaphore.new(AT_ONCE)
    local admitted, busy = writers:wait(wait)
    if not admitted then
        return nil, busy
    end
    local staying = ngx.thread.spawn(stay)
    local ran, written, why = ngx.run_worker_thread("spool", "pancake.files", write, ...)
    ngx.thread.kill(staying)
    writers:post(1)
    if not ran then
        return nil, tostring(written)
    end
    return written, why
end

-- At the start of a worker: every thread loads its program when it is first used, and by then an upgrade may have
-- taken the files away.
function M.prepare()
    for _ = 1, AT_ONCE do
        ngx.thread.spawn(function() run(WAIT_SECONDS, "loaded") end)
    end
end

-- True once the file is on disk under its name; nil and why.
function M.write(directory, name, data)
    return run(WAIT_SECONDS, "write_durable", directory, name, data)
end

-- True once the text is on disk at the end of the file; nil and why. wait: seconds for a free thread, default 1.
function M.append(path, text, wait)
    return run(wait or WAIT_SECONDS, "append", path, text)
end

return M
