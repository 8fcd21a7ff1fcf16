"""Serve one ASGI application on a port of 127.0.0.1 and say its URL on stdout once it listens."""

import socket
import sys

import uvicorn
from starlette.types import ASGIApp


def serve(app: ASGIApp, port: int = 0) -> None:
    """Run until SIGTERM; `port` 0 takes a free one. The first line of stdout is the URL."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])
