-- In LuaJIT one hook serves all coroutines of a VM; compiled code would not call it. Workers inherit it, the
-- threads that write files load it with their module. A line is written when it runs for the first time.
local util = require "jit.util"
jit.off()
jit.flush()
local file = assert(io.open("@FILE@", "a"))
file:setvbuf("no")

local names, seen, M = {}, {}, {}

debug.sethook(function(_, line)
    local source = debug.getinfo(2, "S").source
    local name = names[source]
    if name == nil then
        name = source:match("/lua/pancake/(.+)%.lua$") or false
        names[source] = name
    end
    local key = name and name .. ":" .. line
    if key and not seen[key] then
        seen[key] = true
        file:write("ran " .. key .. "\n")
    end
end, "l")

local function write_lines(name, code)
    local info = util.funcinfo(code)
    for pc = 1, info.bytecodes - 1 do
        local line = util.funcinfo(code, pc).currentline
        file:write(line > 1 and "can " .. name .. ":" .. line .. "\n" or "") -- the first one loads this hook
    end
    for index = -1, info.children and -info.gcconsts or 0, -1 do
        local constant = util.funck(code, index)
        if type(constant) == "proto" then
            write_lines(name, constant)
        end
    end
end

function M.write_all()
    for name in ("@NAMES@"):gmatch("[^ ]+") do
        write_lines(name, assert(loadfile("@LUA@/" .. name .. ".lua")))
    end
end

return M
