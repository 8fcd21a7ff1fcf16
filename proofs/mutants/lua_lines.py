"""Which lines of the edge's Lua no test executes. Off unless EDGE_LUA_LINES names a folder."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from sandbox.edge import DEPLOY, NginxEdge

FOLDER = "EDGE_LUA_LINES"
HOOK = Path(__file__).with_suffix(".lua").read_text("utf-8")


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
