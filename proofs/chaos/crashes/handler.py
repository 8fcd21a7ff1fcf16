"""Processes of the handlers, forked from one that has imported everything, so that they start at once."""

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import uvicorn

from proofs.chaos.accelerated_handlers import create_app

START_TIMEOUT_SECONDS = 20.0
CRON_SECONDS = 120.0
"""For a call of a cron, so that on a slow machine it makes the same round trips as on a fast one."""
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload([__name__, "proofs.chaos.__main__"])


class HandlerNotStarted(Exception):
    """The process ended or did not answer in time; the message holds the end of its log."""


class Handlers:
    """Processes of which one takes all calls; after a fault the next does, and the one before may live on.

    All log to `log`. One process alone takes the calls again: it is started again if it was killed.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, count: int = 1) -> None:
        self._processes = [_Process(environment, log) for _ in range(count)]

    @property
    def port(self) -> int:
        """Of the process that takes the calls."""
        return self._processes[0].port

    async def ensure_running(self) -> None:
        """Start the process that takes the calls, if it is not running. Raises HandlerNotStarted."""
        if not self._processes[0].is_running:
            await self._processes[0].start()

    def pass_on(self) -> None:
        """Let the next process take the calls."""
        self._processes.append(self._processes.pop(0))

    async def kill(self) -> None:
        """Send SIGKILL to the process that takes the calls, and return when it is gone."""
        await self._processes[0].kill()

    async def kill_all(self) -> None:
        """Send SIGKILL to all, and return when they are gone."""
        for process in self._processes:
            await process.kill()


class _Process:
    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment, self._log = dict(environment), log
        self._process: ForkServerProcess | None = None
        self.port = 0

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def start(self) -> None:
        """Start, and return when it answers. Raises HandlerNotStarted."""
        await asyncio.to_thread(self._start)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: handlers\r\nconnection: close\r\n\r\n")
        if not (await reader.read()).startswith(b"HTTP/1.1 200"):
            raise HandlerNotStarted(self._log.read_text(errors="replace")[-2000:])
        writer.close()

    async def kill(self) -> None:
        """Send SIGKILL, and return when the process is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.join)

    def _start(self) -> None:
        receiver, sender = _FORKING.Pipe(duplex=False)
        self._process = _FORKING.Process(
            target=_serve, args=(self._environment, str(self._log), sender), daemon=True
        )
        self._process.start()
        sender.close()
        try:
            if not receiver.poll(START_TIMEOUT_SECONDS):
                raise EOFError
            self.port = receiver.recv()
        except EOFError as error:
            raise HandlerNotStarted(self._log.read_text(errors="replace")[-2000:]) from error


def _serve(environment: Mapping[str, str], log: str, sender: Connection) -> None:
    """Serve the handlers until killed, or until the parent has ended."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    app = create_app()
    app.state.runtime.cron_runs.answer_within_seconds = CRON_SECONDS
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False)
    listener = config.bind_socket()
    listener.listen()
    sender.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
