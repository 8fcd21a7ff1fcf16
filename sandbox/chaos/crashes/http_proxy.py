"""A proxy for HTTP/1.1 that counts calls, and loses requests or answers. Each request has its own connection
to the server; bodies have a Content-Length, or the answer is chunked."""

import asyncio
import re
from collections.abc import Callable

from sandbox.chaos.crashes.points import Moment
from sandbox.chaos.crashes.tripwire import Tripwire

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_VARIABLE_PART = re.compile(r"(?<=/workspaces/)\d+|(?<=/record/)(?!\w+$)[^/]+")


class HttpProxy:
    """Stands between a client and a server. `kind` is that of its round trips."""

    def __init__(self, kind: str, port: Callable[[], int], wire: Tripwire) -> None:
        self.wire = wire
        self._kind, self._server_port = kind, port

    async def start(self) -> int:
        """Listen, and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the end of a connection, whichever side ended it
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request and its answer on; return whether the connection continues."""
        request = await _read(reader)
        method, path, _ = request.split(b" ", 2)
        label = f"{method.decode()} {_VARIABLE_PART.sub('{id}', path.decode().partition('?')[0])}"
        moment = self.wire.reached(self._kind, label)
        if moment == Moment.BEFORE and self._kind != "answer":
            await self.wire.kill()
            return False
        answer = await self._ask(request)
        is_withheld = moment == Moment.LOST or (moment is not None and not self._answers_first(moment))
        if not is_withheld:
            writer.write(answer)
            await writer.drain()
        if moment in (Moment.BEFORE, Moment.AFTER):
            await self.wire.kill()
        return moment is None

    def _answers_first(self, moment: Moment) -> bool:
        """Whether the client has the answer when the process is killed: only our own, after it."""
        return self._kind == "answer" and moment == Moment.AFTER

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port())
        try:
            writer.write(request)
            await writer.drain()
            return await _read(reader)
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
