-- Durable writes from a request or a timer. They run in nginx's thread pools, so that a slow disk never stops the event
-- loop of a worker.
local semaphore = require "ngx.semaphore"
local log = require "pancake.log"

-- nginx refuses a call beyond lua_worker_thread_vm_pool_size (in nginx.conf) instead of queueing it. These semaphores
-- queue it: the values of max_writes_at_once add up to that size.
local POOLS = {
    spool = { max_writes_at_once = 16, queue_timeout_seconds = 3 },
    journal = { max_writes_at_once = 1, queue_timeout_seconds = 1 },
}
local KEEP_ALIVE_SECONDS = 60 -- longer than any write

local M = {}

-- A worker that exits waits for timers but not for pool threads. A sleeping light thread keeps it alive until the write
-- is done; without it the sender would get no answer.
local function keep_worker_alive()
    ngx.sleep(KEEP_ALIVE_SECONDS)
end

local function run(pool_name, function_name, ...)
    local pool = POOLS[pool_name]
    pool.turns = pool.turns or semaphore.new(pool.max_writes_at_once)
    local ok, err = pool.turns:wait(pool.queue_timeout_seconds)
    if not ok then
        return nil, err
    end
    local keeper = ngx.thread.spawn(keep_worker_alive)
    local result
    ok, result, err = ngx.run_worker_thread(pool_name, "pancake.files", function_name, ...)
    ngx.thread.kill(keeper)
    pool.turns:post(1)
    if not ok then
        return nil, tostring(result)
    end
    return result, err
end

local function load_files_module(pool_name)
    local ok, err = run(pool_name, "preload")
    if not ok then
        log.error("disk", "thread not prepared: " .. err)
    end
end

-- Load the program into every pool thread when the worker starts. A thread would load it at its first write, and by
-- then an upgrade may have replaced the files.
function M.prepare()
    for name, pool in pairs(POOLS) do
        for _ = 1, pool.max_writes_at_once do
            ngx.thread.spawn(load_files_module, name)
        end
    end
end

-- Return true once the file is on disk under its name; else nil and an error.
function M.write(directory, name, data)
    return run("spool", "write_durable", directory, name, data)
end

-- Return true once the text is on disk at the end of the file; else nil and an error.
function M.append(path, text)
    return run("journal", "append", path, text)
end

return M
