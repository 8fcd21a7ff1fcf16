"""A proxy for HTTP/1.1 that counts calls, and loses requests or answers. Each request has its own connection
to the server; bodies have a Content-Length, or the answer is chunked."""

import asyncio
import re
from collections.abc import Callable

from proofs.chaos.crashes.points import Moment
from proofs.chaos.crashes.tripwire import Tripwire

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_VARIABLE_PART = re.compile(r"(?<=/workspaces/)\d+|(?<=/record/)[^/]+")


class HttpProxy:
    """Stands between a client and a server. `kind` is that of its round trips; a path may be `ignored`.

    While it is cut no request arrives, and only the first of each kind counts: timers make the others.
    """

    def __init__(self, kind: str, port: Callable[[], int], wire: Tripwire, ignored: str = "") -> None:
        self.wire = wire
        self._is_down = False
        self._kind, self._server_port, self._ignored = kind, port, ignored
        self._refused: set[str] = set()

    async def start(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the end of a connection, whichever side ended it, or of the program
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request and its answer on; return whether the connection continues."""
        request = await _read(reader)
        method, path, _ = request.split(b" ", 2)
        route = _VARIABLE_PART.sub("{id}", path.decode().partition("?")[0])
        moment = self._reached(f"{method.decode()} {route}") if route != self._ignored else None
        if moment == Moment.BEFORE and self._kind != "answer":
            await self.wire.kill()
            return False
        answer = await self._ask(request)
        is_withheld = moment == Moment.LOST or (moment is not None and not self._answers_first(moment))
        if answer and not is_withheld:
            writer.write(answer)
            await writer.drain()
        if moment in (Moment.BEFORE, Moment.AFTER):
            await self.wire.kill()
        return moment is None and answer != b""

    def cut(self, is_down: bool) -> None:
        """Let no request arrive, or all again."""
        self._is_down = is_down
        self._refused.clear()

    def _reached(self, label: str) -> Moment | None:
        if self._is_down:
            if label in self._refused:
                return None
            self._refused.add(label)
        return self.wire.reached(self._kind, label)

    def _answers_first(self, moment: Moment) -> bool:
        """Whether the client has the answer when the process is killed: only our own, after it."""
        return self._kind == "answer" and moment == Moment.AFTER

    async def _ask(self, request: bytes) -> bytes:
        """Return the server's answer, empty if there is none."""
        if self._is_down:
            return b""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port())
        except ConnectionRefusedError:
            return b""
        try:
            writer.write(request)
            await writer.drain()
            return await _read(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return a request or an answer, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    if length := _LENGTH.search(head):
        return head + await reader.readexactly(int(length[1]))
    if not _CHUNKED.search(head):
        return head
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return head + bytes(body)
