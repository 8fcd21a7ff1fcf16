"""An HTTP/1.1 server in a separate thread, so that a test may block while it serves."""

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

CALL_TIMEOUT_SECONDS = 10
BACKLOG_CONNECTIONS = 512


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `chunked` and `close` choose how the body is framed; the default is by its length."""

    status: int = 200
    body: bytes = b"{}"
    delay_seconds: float = 0
    chunked: bool = False
    close: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request as read from the socket; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HttpServer:
    """A server that keeps every request. Subclasses override `answer`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._tls = tls
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request. Called in the server's thread."""
        raise LookupError(request.path)

    def start(self) -> None:
        """Listen: the first time on a free port, later on the same one."""
        self._run(self._listen())

    def stop(self) -> None:
        """Refuse new connections and abort the open ones."""
        self._run(self._close())

    def close(self) -> None:
        """Stop the server and its thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, backlog=BACKLOG_CONNECTIONS, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                answer = self.answer(request)
                await asyncio.sleep(answer.delay_seconds)
                writer.write(self._framed(answer))
                if answer.close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Request | None:
        first = await reader.readline()
        if not first:
            return None
        method, path, _ = first.decode("latin-1").split()
        headers = {}
        while line := (await reader.readline()).decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, body)

    @staticmethod
    def _framed(answer: Answer) -> bytes:
        head = f"HTTP/1.1 {answer.status} Reason\r\nContent-Type: application/json\r\n".encode()
        if answer.close:
            return head + b"Connection: close\r\n\r\n" + answer.body
        if answer.chunked:
            half = len(answer.body) // 2
            parts = (answer.body[:half], answer.body[half:], b"")
            framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed
        return head + f"Content-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body
