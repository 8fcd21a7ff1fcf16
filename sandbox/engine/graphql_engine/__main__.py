"""`python -m graphql_engine`: serve the stand-in on a loopback address until SIGTERM or SIGINT."""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.lifecycle import Lifecycle
from graphql_engine.metadata.access import dict_of, source_url
from graphql_engine.metadata.consistency import source_problem
from graphql_engine.metadata_api.whole import normalized
from graphql_engine.server import create_app
from graphql_engine.settings import StartError, read_settings

BANNER = "Stand-in for the Hasura GraphQL Engine, for development and tests. This is NOT Hasura."


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m graphql_engine",
        description=f"{BANNER} HASURA_GRAPHQL_* variables mean what they mean there.",
    )
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="metadata as JSON")
    parser.add_argument("--migrations", type=Path, metavar="DIR", help="migrations to apply before serving")
    parser.add_argument(
        "--database-url", default=os.environ.get("HASURA_GRAPHQL_DATABASE_URL"), metavar="URL"
    )
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free port")
    parser.add_argument("--log-level", default="warning")
    chosen = parser.parse_args()
    if not chosen.database_url:
        parser.error("--database-url or HASURA_GRAPHQL_DATABASE_URL is needed")
    if not _is_loopback(chosen.host):
        parser.error("--host must be a loopback address: this stand-in must not be reachable from a network")
    return chosen


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Server(uvicorn.Server):
    """Uvicorn that prints its URL when it is ready, and returns after a signal: the engine is closed then."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT without raising the signal again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the URL: callers wait for this line."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"http://{shown}:{port}", flush=True)


async def serve(chosen: argparse.Namespace) -> None:
    """Open the engine, serve until a signal, close it. Raises StartError."""
    environment = dict(os.environ)
    environment["HASURA_GRAPHQL_DATABASE_URL"] = chosen.database_url
    settings = read_settings(environment)
    metadata = read_metadata(chosen.metadata) if chosen.metadata else {"version": 3, "sources": []}
    database_url = url_of_source(metadata, environment, chosen.database_url)
    engine = Engine(settings, database_url, metadata)
    lifecycle = Lifecycle(engine, chosen.migrations)
    try:
        await lifecycle.open()
        listener = socket.create_server((chosen.host, chosen.port))
        listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # without it responses wait 40 ms for an ACK
        config = uvicorn.Config(
            create_app(lifecycle),
            log_level=chosen.log_level,
            lifespan="on",
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,  # as warp, the server of the genuine engine
        )
        server = Server(config)
        await server.serve(sockets=[listener])
    finally:
        await lifecycle.close()


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file of JSON. Raises StartError that names file and key."""
    try:
        return normalized(dict_of(json.loads(path.read_bytes())))
    except ValueError as error:
        raise StartError(f"{path}: {error}") from error
    except QErr as error:
        raise StartError(f"{path}: {error.path}: {error.message}") from error


def url_of_source(metadata: dict[str, Any], environment: dict[str, str], fallback: str) -> str:
    """Return the URL of the source. Raises StartError for several sources or an unset variable."""
    sources = metadata["sources"]
    if not sources:
        return fallback
    if len(sources) > 1:
        raise StartError("metadata: more than one source is not supported by this stand-in")
    if problem := source_problem(sources[0], environment):
        raise StartError(f"metadata: database_url: {problem}")
    return source_url(sources[0], environment) or fallback


def main() -> int:
    """Return the exit code: 0 after a clean stop, 1 if the engine could not start."""
    chosen = arguments()
    logging.basicConfig(
        level=chosen.log_level.upper(), format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    print(BANNER, file=sys.stderr, flush=True)
    try:
        asyncio.run(serve(chosen))
    except (StartError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
