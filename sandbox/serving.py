"""Serve one ASGI application of the sandbox; print its URL when it listens."""

import argparse
import socket
import sys

import uvicorn
from starlette.types import ASGIApp


def read_address(program: str, description: str | None) -> tuple[str, int]:
    """Parse `--host` and `--port` of the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="use another address only in a container")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    chosen = parser.parse_args()
    return chosen.host, chosen.port


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve until SIGTERM. `port` 0 takes a free port. The first line of stdout is the URL."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # without it an answer may wait 40 ms for an ACK
    listener.bind((host, port))
    listener.listen(512)
    sys.stdout.write(f"http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])
