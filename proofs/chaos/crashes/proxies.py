"""The crash points, a round trip of a scenario and a moment of it; and proxies that count trips and strike.

The proxies stand before the handlers and behind them, and lose requests or answers. HTTP/1.1: each request
has its own connection to the server; bodies have a Content-Length, or the answer is chunked. PostgreSQL: what
a client sends up to Sync or Query is a request, what the server sends up to ReadyForQuery its answer.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import asyncio
import re
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from leads.adapters.database import QUERIES

POINTS_FILE = Path(__file__).parent / "crash_points.txt"
FOUND_FILE = Path(__file__).parent / "found.txt"
"""The points at which a run failed once."""
HEADER = """\
# The round trips of each scenario, in order: scenario, kind, number among equal ones, label.
# Written by `scripts/chaos crash_points --write`; the run fails if a trace finds other ones.
"""


class Moment(StrEnum):
    """When a fault strikes.

    | kind | before | after | lost |
    |---|---|---|---|
    | sql, call | killed instead of sending the request | killed when the answer came | answer lost |
    | answer | killed when it has answered, before the caller has it | killed after that | answer lost |
    | event | Hasura killed when it has locked the event | killed when the handler has answered | |
    | forward | the edge killed instead of sending on | killed when the answer came | answer lost |

    With `lost` the connection is cut instead of the answer, and no process is killed.
    """

    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"


MOMENTS = {kind: tuple(Moment) for kind in ("sql", "call", "answer", "forward")} | {
    "event": (Moment.BEFORE, Moment.AFTER)
}


@dataclass(frozen=True, slots=True)
class Trip:
    """A round trip: its kind, its label, and its number among equal ones of a run, counted from 1."""

    kind: str
    label: str
    number: int


@dataclass(frozen=True, slots=True)
class Point:
    """Where and when a fault strikes."""

    scenario: str
    trip: Trip
    moment: Moment

    def __str__(self) -> str:
        trip = self.trip
        return f"{self.scenario}/{trip.kind}/{trip.label}#{trip.number}/{self.moment}"


Trips = dict[str, list[Trip]]
"""The round trips of each scenario, in order."""


def points_of(scenario: str, trips: Iterable[Trip]) -> list[Point]:
    return [Point(scenario, trip, moment) for trip in trips for moment in MOMENTS[trip.kind]]


def read_points(path: Path = POINTS_FILE) -> Trips:
    """Read the file. Raises ValueError with the number of a line that is not a round trip."""
    trips: Trips = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        fields = line.split("\t")
        if len(fields) != 4 or fields[1] not in MOMENTS or not fields[2].isdecimal():
            raise ValueError(f"{path.name}, line {number}: not `scenario, kind, number, label`: {line}")
        scenario, kind, count, label = fields
        trips.setdefault(scenario, []).append(Trip(kind, label, int(count)))
    return trips


def read_found(path: Path = FOUND_FILE) -> list[str]:
    """Return the points at which a run failed once, as text."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def write_points(trips: Trips, path: Path = POINTS_FILE) -> None:
    lines = [
        f"{scenario}\t{trip.kind}\t{trip.number}\t{trip.label}\n"
        for scenario, found in trips.items()
        for trip in found
    ]
    path.write_text(HEADER + "".join(lines))


def differences(listed: Trips, traced: Trips) -> list[str]:
    """Return a line for each round trip that only the file or only the trace has."""
    lines = []
    for scenario in {**listed, **traced}:
        ours, theirs = listed.get(scenario, []), traced.get(scenario, [])
        lines += [f"{scenario}: not in the file: {trip}" for trip in theirs if trip not in ours]
        lines += [f"{scenario}: not in the trace: {trip}" for trip in ours if trip not in theirs]
    return lines


async def _no_process() -> None:
    raise RuntimeError("no process is named for this kind of round trip")


@dataclass
class Tripwire:
    """`traces[0]` are the round trips before the first strike, `traces[1]` those after it, and so on."""

    targets: Sequence[Point] = ()
    kill: Callable[[], Awaitable[None]] = _no_process
    """Kills the process that makes the round trips with SIGKILL, and returns when it is gone."""
    struck: list[Point] = field(default_factory=list)
    traces: list[list[Trip]] = field(default_factory=lambda: [[]])
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _is_counting: bool = False

    def start(self) -> None:
        self._is_counting = True

    def stop(self) -> None:
        """Count no more, unless a fault has struck: what follows it is traced until the run is at rest."""
        self._is_counting = bool(self.struck)

    def end(self) -> None:
        self._is_counting = False

    def reached(self, kind: str, label: str) -> Moment | None:
        """Note a round trip; return the moment of it at which the fault strikes, if it does."""
        if not self._is_counting:
            return None
        self._counts[kind, label] += 1
        trip = Trip(kind, label, self._counts[kind, label])
        self.traces[-1].append(trip)
        if len(self.struck) == len(self.targets) or self.targets[len(self.struck)].trip != trip:
            return None
        point = self.targets[len(self.struck)]
        self.struck.append(point)
        self.traces.append([])
        self._counts.clear()
        return point.moment


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_VARIABLE_PART = re.compile(r"(?<=/workspaces/)\d+|(?<=/record/)[^/]+")


class Proxy(ABC):
    """Listens on a free port of loopback; `_serve` serves each connection."""

    async def start(self) -> int:
        """Return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._server.close()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


class HttpProxy(Proxy):
    """Stands between a client and a server. `kind` is that of its round trips; a path may be `ignored`.

    While it is cut no request arrives, and only the first of each kind counts: timers make the others.
    """

    def __init__(self, kind: str, port: Callable[[], int], wire: Tripwire, ignored: str = "") -> None:
        self.wire = wire
        self._is_down = False
        self._kind, self._server_port, self._ignored = kind, port, ignored
        self._refused: set[str] = set()

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


SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
NEEDS_RESPONSE = frozenset((3, 5, 10, 11))
"""Of AuthenticationCleartextPassword, …MD5Password, …SASL, …SASLContinue: the client answers."""
_PARAMETER = re.compile(rb"%\((\w+)\)[sbt]|%%")


class ConnectionEnded(Exception):
    """One side closed the connection."""


def statement_names(queries: Mapping[str, bytes] = QUERIES) -> dict[bytes, str]:
    """Return the name of each statement by its text as psycopg sends it, with $1 for a parameter."""
    return {_as_sent(text): name for name, text in queries.items()}


def _as_sent(text: bytes) -> bytes:
    numbers: dict[bytes, int] = {}

    def placeholder(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return b"%"
        return b"$%d" % numbers.setdefault(match[1], len(numbers) + 1)

    return _PARAMETER.sub(placeholder, text)


class PgProxy(Proxy):
    """Serves the processes of the handlers of one run at a time."""

    def __init__(self, host: str, port: int, wire: Tripwire) -> None:
        self.wire = wire
        self._host, self._port = host, port
        self._names = statement_names()
        self._sessions: set[asyncio.Task[None]] = set()

    async def wait_closed(self) -> None:
        """Wait until every session has ended; their process is gone."""
        if self._sessions:
            await asyncio.wait(self._sessions)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self._host, self._port)
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        session = _Session(reader, writer, upstream_reader, upstream_writer, self._names)
        try:
            await session.start_up()
            while await self._exchange(session):
                pass
        except (ConnectionEnded, ConnectionError, asyncio.IncompleteReadError):
            pass  # the end of a session, whichever side ended it
        finally:
            self._sessions.discard(task)
            writer.transport.abort()
            upstream_writer.close()

    async def _exchange(self, session: "_Session") -> bool:
        """Pass one request and its answer on; return whether the session continues."""
        request, label = await session.read_request()
        moment = self.wire.reached("sql", label)
        if moment == Moment.BEFORE:
            await self.wire.kill()
            return False
        answer = await session.ask(request)
        if moment == Moment.AFTER:
            await self.wire.kill()
        if moment is not None:
            return False
        await session.reply(answer)
        return True


class _Session:
    """The two connections of one session, and its prepared statements."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream_writer: asyncio.StreamWriter,
        names: Mapping[bytes, str],
    ) -> None:
        self._reader, self._writer = reader, writer
        self._upstream_reader, self._upstream_writer = upstream_reader, upstream_writer
        self._names = names
        self._prepared: dict[bytes, str] = {}

    async def start_up(self) -> None:
        """Pass the start of a session on, up to the first ReadyForQuery."""
        while True:
            head = await self._reader.readexactly(8)
            length, code = struct.unpack("!ii", head)
            await _send(self._upstream_writer, head + await self._reader.readexactly(length - 8))
            if code == CANCEL_REQUEST:
                raise ConnectionEnded
            if code not in (SSL_REQUEST, GSSENC_REQUEST):
                break
            await _send(self._writer, await self._upstream_reader.readexactly(1))
        while True:
            kind, message = await _read_message(self._upstream_reader)
            await _send(self._writer, message)
            if kind == b"R" and struct.unpack("!i", message[5:9])[0] in NEEDS_RESPONSE:
                await _send(self._upstream_writer, (await _read_message(self._reader))[1])
            elif kind == b"Z":
                return
            elif kind == b"E":
                raise ConnectionEnded

    async def read_request(self) -> tuple[bytes, str]:
        """Return the messages up to Sync or Query, and the names of their statements.

        Raises ConnectionEnded when the client ends the session.
        """
        messages, labels = bytearray(), []
        while True:
            kind, message = await _read_message(self._reader)
            messages += message
            if kind == b"P":
                name, text = message[5:].split(b"\0")[:2]
                self._prepared[name] = self._name(text)
            elif kind == b"B":
                labels.append(self._prepared[message[5:].split(b"\0")[1]])
            elif kind == b"Q":
                labels.append(self._name(message[5:-1]))
            elif kind == b"X":
                raise ConnectionEnded
            if kind in (b"S", b"Q"):
                return bytes(messages), ", ".join(labels) or "prepare"

    async def ask(self, request: bytes) -> bytes:
        await _send(self._upstream_writer, request)
        answer = bytearray()
        while True:
            kind, message = await _read_message(self._upstream_reader)
            answer += message
            if kind == b"Z":
                return bytes(answer)

    async def reply(self, answer: bytes) -> None:
        await _send(self._writer, answer)

    def _name(self, text: bytes) -> str:
        return self._names.get(text, text.decode())


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the type of a message, and the whole of it."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
