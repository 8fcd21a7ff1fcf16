"""Which lines of the edge's Lua no test executes. Off unless EDGE_LUA_LINES names a folder."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from sandbox.edge import DEPLOY, NginxEdge

FOLDER = "EDGE_LUA_LINES"
HOOK = r"""
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
"""


def record_lines(edge: NginxEdge) -> None:
    """Let an edge that is not started yet write the lines that run, and those that can, into the folder."""
    if FOLDER not in os.environ:
        return
    folder = Path(os.environ[FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    lua = edge.directory / "lua" / "pancake"
    modules = sorted(lua.glob("*.lua"))
    hook = HOOK.replace("@FILE@", f"{folder}/{secrets.token_hex(8)}.lines").replace("@LUA@", str(lua))
    (lua.parent / "test_lines.lua").write_text(
        hook.replace("@NAMES@", " ".join(path.stem for path in modules))
    )
    for path in modules:
        path.write_text(f'require "test_lines" {path.read_text()}')
    edge.edit("start.lua", "function M.init()", 'function M.init() require("test_lines").write_all()')


def unexecuted(folder: Path) -> Iterator[str]:
    """Yield the lines that can run and did not, then their number."""
    kinds = {"can": set[tuple[str, int]](), "ran": set[tuple[str, int]]()}
    for line in "".join(path.read_text() for path in folder.glob("*.lines")).splitlines():
        kind, name, line_number = line.replace(":", " ").split()
        kinds[kind].add((name, int(line_number)))
    missed = sorted(kinds["can"] - kinds["ran"])
    for name, number in missed:
        text = (DEPLOY / "lua" / "pancake" / f"{name}.lua").read_text().splitlines()
        yield f"{name}.lua:{number}: {text[number - 1].strip()}"
    yield f"{len(missed)} of {len(kinds['can'])} lines never executed"
