"""Upstream servers for benchmarks: each answers at once, in a separate process."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def _graphql(request: Request) -> Response:
    """Accept notifications; a scrape sends a query without any."""
    sent = (await request.json()).get("variables", {}).get("notifications", [])
    return JSONResponse({"data": {"sendNotifications": {"accepted": len(sent), "duplicates": 0}}})


def _notification_app() -> Starlette:
    return Starlette(routes=[Route("/v1/graphql", _graphql, methods=["POST"])])


@contextmanager
def notification_sink() -> Iterator[str]:
    """Run a server that accepts every notification; yield its URL."""
    with serve_in_process(_notification_app) as url:
        yield url


@contextmanager
def serve_in_process(make_app: Callable[[], Starlette]) -> Iterator[str]:
    """Run an application in a separate process; yield its URL.

    `make_app` must be a function of a module: the new process imports it by name.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(make_app, sender), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join(5)


def _serve(make_app: Callable[[], Starlette], sender: Connection) -> None:
    config = uvicorn.Config(make_app(), host="127.0.0.1", port=0, log_level="error", access_log=False)
    listener = config.bind_socket()
    sender.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
