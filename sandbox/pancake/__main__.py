"""Run the simulator: `python -m sandbox.pancake --port 0` prints its URL when it is ready.

PANCAKE_WEBHOOK_URL is where events are sent, PANCAKE_WEBHOOK_HEADER a header of them, `NAME=VALUE`. The
vendor's API is below `/api`, the control API below `/control`.
"""

import argparse
import os
from pathlib import Path

from sandbox.accelerated_clock import AcceleratedClock
from sandbox.pancake.control import create_app
from sandbox.pancake.workspace import Workspace, real_time
from sandbox.serving import serve

DEFAULT_API_KEY = "0123456789abcdef0123456789abcdef"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sandbox.pancake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator of leads and faults")
    parser.add_argument("--workspace-id", type=int, default=123)
    parser.add_argument("--api-key", default=os.environ.get("PANCAKE_API_KEY", DEFAULT_API_KEY))
    parser.add_argument("--more-sources", type=int, default=0, help="so many sources without leads besides")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="the file of an accelerated clock")
    given = parser.parse_args()
    now = AcceleratedClock(given.clock).now if given.clock else real_time
    workspace = Workspace(now=now, seed=given.seed, workspace_id=given.workspace_id, api_key=given.api_key)
    workspace.more_sources = {f"{1001 + each}": f"Nguồn {each}" for each in range(given.more_sources)}
    workspace.sender.settings.url = os.environ.get("PANCAKE_WEBHOOK_URL", "")
    if header := os.environ.get("PANCAKE_WEBHOOK_HEADER", ""):
        workspace.sender.settings.headers = dict([header.split("=", 1)])
    serve(create_app(workspace), given.host, given.port)
