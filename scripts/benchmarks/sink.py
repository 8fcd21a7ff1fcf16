"""A process that takes notifications as Hasura's sendNotifications does, and costs next to nothing."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def _graphql(request: Request) -> Response:
    sent = (await request.json())["variables"]["notifications"]
    return JSONResponse({"data": {"sendNotifications": {"accepted": len(sent), "duplicates": 0}}})


@contextmanager
def notification_sink() -> Iterator[str]:
    """The URL of the sink while the block runs."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(sender,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join(5)


def _serve(sender: Connection) -> None:
    app = Starlette(routes=[Route("/v1/graphql", _graphql, methods=["POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False)
    listener = config.bind_socket()
    sender.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
