"""Run the simulator: `python -m sandbox.pancake --port 0` prints its URL when it is ready.

PANCAKE_API_KEY, PANCAKE_WEBHOOK_URL and PANCAKE_WEBHOOK_HEADER stand in for the options that hold secrets.

The vendor's API is below `/api`, the control API below `/control`.
"""

import argparse
import os
from pathlib import Path

from sandbox.accelerated_clock import AcceleratedClock
from sandbox.pancake.control import create_app
from sandbox.pancake.workspace import Workspace, real_time
from sandbox.serving import serve

DEFAULT_API_KEY = "0123456789abcdef0123456789abcdef"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.pancake", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator of leads and faults")
    parser.add_argument("--workspace-id", type=int, default=123)
    parser.add_argument("--api-key", default=os.environ.get("PANCAKE_API_KEY", DEFAULT_API_KEY))
    parser.add_argument(
        "--webhook-url", default=os.environ.get("PANCAKE_WEBHOOK_URL", ""), help="send events to this URL"
    )
    parser.add_argument("--webhook-header", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--webhook-secret", default="", help="sign deliveries with this secret")
    parser.add_argument(
        "--zone-hours", type=float, default=0, help="UTC offset of the naive times in records"
    )
    parser.add_argument(
        "--filter-zone-hours", type=float, default=0, help="UTC offset of naive times in filters"
    )
    parser.add_argument("--documented-shape", action="store_true", help="answer lists without the envelope")
    parser.add_argument("--ascending", action="store_true", help="list the oldest record first")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="the file of an accelerated clock")
    return parser.parse_args()


def _workspace(arguments: argparse.Namespace) -> Workspace:
    now = AcceleratedClock(arguments.clock).now if arguments.clock else real_time
    workspace = Workspace(
        now=now,
        seed=arguments.seed,
        workspace_id=arguments.workspace_id,
        api_key=arguments.api_key,
        zone_hours=arguments.zone_hours,
        filter_zone_hours=arguments.filter_zone_hours,
        enveloped=not arguments.documented_shape,
        descending=not arguments.ascending,
    )
    settings = workspace.sender.settings
    settings.url, settings.secret = arguments.webhook_url, arguments.webhook_secret
    headers = arguments.webhook_header or [os.environ.get("PANCAKE_WEBHOOK_HEADER", "")]
    settings.headers = dict(header.split("=", 1) for header in headers if header)
    return workspace


if __name__ == "__main__":
    arguments = _arguments()
    serve(create_app(_workspace(arguments)), arguments.host, arguments.port)
