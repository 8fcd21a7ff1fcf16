-- Durable writes from a request or a timer: in nginx's thread pools, so that a slow disk never stops the event loop.
local semaphore = require "ngx.semaphore"
local log = require "pancake.log"

-- How many of a worker's writes nginx has at once, and how long the next one waits for its turn. Together as many as
-- lua_worker_thread_vm_pool_size: nginx refuses one more instead of queueing it.
local POOLS = {
    spool = { at_once = 16, wait_seconds = 3 },
    journal = { at_once = 1, wait_seconds = 1 },
}

local M = {}

-- An exiting worker waits for timers, not for threads of a pool: without one the sender would hear nothing.
local function stay()
    ngx.sleep(60)
end

local function run(name, write, ...)
    local pool = POOLS[name]
    pool.turns = pool.turns or semaphore.new(pool.at_once)
    local admitted, busy = pool.turns:wait(pool.wait_seconds)
    if not admitted then
        return nil, busy
    end
    local staying = ngx.thread.spawn(stay)
    local ran, written, why = ngx.run_worker_thread(name, "pancake.files", write, ...)
    ngx.thread.kill(staying)
    pool.turns:post(1)
    if not ran then
        return nil, tostring(written)
    end
    return written, why
end

local function load_program(name)
    local loaded, why = run(name, "loaded")
    if not loaded then
        log.error("disk", why)
    end
end

-- At the start of a worker: each thread loads its program when it is first used, and by then an upgrade may have
-- taken the files away.
function M.prepare()
    for name, pool in pairs(POOLS) do
        for _ = 1, pool.at_once do
            ngx.thread.spawn(load_program, name)
        end
    end
end

-- True once the file is on disk under its name; nil and why.
function M.write(directory, name, data)
    return run("spool", "write_durable", directory, name, data)
end

-- True once the text is on disk at the end of the file; nil and why.
function M.append(path, text)
    return run("journal", "append", path, text)
end

return M
