"""No log of a test run holds a phone, a name, a token or a key: those that tests use are searched for.

Phones and names are found by their form, secrets by their value; those of a sandbox are new in each.
Searched are the logs of every server that `sandbox.processes.Processes` started (handlers, edge, stand-ins,
PostgreSQL), here or in a command that a test ran, and the lines that handlers inside the test process would
write. `watching_logs` fails at the end of the session; with several workers each of them does."""

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from leads.adapters.logs import QUIET_LOGGERS, JsonFormatter
from proofs.bench import environment as bench
from sandbox.postgres.database import LOGINS
from sandbox.processes import FOLDER, LOGS, SECRETS
from sandbox.stack.keys import Keys
from tests.support.edge import surroundings
from tests.support.edge.harness import TOKEN
from tests.support.fakes import API_KEY
from tests.support.settings import (
    EDGE_SECRET,
    HANDLER_SECRET,
    PREVIOUS_EDGE_SECRET,
    PREVIOUS_HANDLER_SECRET,
    WEBHOOK_TOKEN,
)

POSTGRES_LOG = "server.log"
_ENDS = "(?![0-9A-Za-z])"
_VIETNAMESE = "(?:[35789]{0}{{8}}|2{0}{{9}}|1[2-9]{0}{{8}})"
PHONES = (
    # A mobile number, an old one with eleven digits or a landline, alone or after its prefix.
    re.compile(rf"(?<![0-9A-Za-z.])(?:0|\+?84){_VIETNAMESE.format('[0-9]')}{_ENDS}"),
    # The same in groups; a date, a time of day or a UUID before it is no beginning.
    re.compile(
        r"(?<![0-9A-Za-z.])(?<![0-9A-Za-z]-)(?<![0-9]:)"
        rf"(?:0|\+?84[ .-]?){_VIETNAMESE.format('(?:[ .-]?[0-9])')}{_ENDS}(?!-[0-9A-Za-z])"
    ),
    # A number of any country.
    re.compile(rf"(?<![0-9A-Za-z.+/=])\+[1-9](?:[ .-]?[0-9]){{8,14}}{_ENDS}"),
)
# A family name with a given one, and what tests call a customer without one.
NAME = re.compile(
    r"\b(?:Nguyễn|Trần|Lê|Phạm|Hoàng|Huỳnh|Phan|Vũ|Võ|Đặng|Bùi|Đỗ|Ngô|Dương|Lý|Mai|Tô|Hồ|Cao|Đinh|Nguyen|Bích"
    r"|Hạnh|Khách|Chị|Anh|Lan) [A-ZĐ0-9]"
)
# One word may be anything: it counts as the value of a key.
_SHORT_NAME = re.compile(r"""name['"]?\s*[:=]\s*['"](?:An|Bình|Lan|Thử|Hạnh)['"]""")
_JWT = re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# Long enough for a body, too long for a word or a digest.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")
_values: dict[str, set[str]] = {
    "name": {"Số điện thoại hỏng", "Không có mã", "Không có số"},
    "token": {WEBHOOK_TOKEN, TOKEN, bench.TOKEN},
    "API key": {API_KEY},
    "secret": {
        HANDLER_SECRET, PREVIOUS_HANDLER_SECRET, EDGE_SECRET, PREVIOUS_EDGE_SECRET, surroundings.EDGE_SECRET,
        surroundings.HASURA_TOKEN, bench.SECRET, bench.ENCRYPTION_KEYS.partition(":")[2],
    },
}  # fmt: skip


_FORMS = (*(("phone", form) for form in PHONES), ("name", NAME), ("name", _SHORT_NAME), ("token", _JWT))


def find_kinds(text: str) -> list[str]:
    """Return the kinds of the values in a text: as they are, as JSON with escapes, or inside base64."""
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), "\n".join([text, *decoded(text)]))
    found = {kind for kind, values in _values.items() if any(value in text for value in values)}
    return sorted(found | {kind for kind, form in _FORMS if form.search(text)})


def decoded(text: str) -> Iterator[str]:
    """Yield what the base64 in a text stands for."""
    for match in _BASE64.finditer(text):
        try:
            yield base64.b64decode(match[0] + "=" * (-len(match[0]) % 4)).decode(errors="replace")
        except binascii.Error:
            continue


class LogWatch(logging.Handler):
    """Collects which log holds which kind of value, never the value.

    `folder` is where sandboxes hand over their logs and secrets.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonFormatter())
        self.findings: set[str] = set()
        self._folder = folder
        self._known: set[Path] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Search a line that the handlers would write: they silence some libraries."""
        if record.levelno >= logging.WARNING or record.name not in QUIET_LOGGERS:
            self._learn_secrets()
            self._search(f"the process's own log ({record.name}: {record.msg[:40]})", self.format(record))

    def inspect(self) -> None:
        self._learn_secrets()
        found = {path for pattern in LOGS for path in self._folder.glob(f"**/{pattern}")}
        for path in sorted(path for path in found if path.is_file()):
            text = path.read_text(errors="replace")
            if path.name == POSTGRES_LOG:
                text = lines_of_logins(text)
            self._search(str(path.relative_to(self._folder)), text)

    def check(self) -> None:
        """Raise AssertionError that names each log and the kinds of values in it."""
        assert not self.findings, "\n".join(["Logs hold what they must not:", *sorted(self.findings)])

    def _learn_secrets(self) -> None:
        for path in set(self._folder.glob(SECRETS)) - self._known:
            keys = Keys(**json.loads(path.read_text()))
            _values["token"].add(keys.webhook_token)
            _values["API key"].add(keys.pancake_api_key)
            _values["secret"] |= {
                keys.admin_secret, keys.jwt_key, keys.handler_secret, keys.edge_secret, keys.header_secret,
                keys.encryption_keys.partition(":")[2],
            }  # fmt: skip
            self._known.add(path)

    def _search(self, log: str, text: str) -> None:
        if kinds := find_kinds(text):
            self.findings.add(f"{log} holds: {', '.join(kinds)}")


def lines_of_logins(text: str) -> str:
    """Return what PostgreSQL logged for handlers and operators: as the owner, tests run any statement."""
    kept, lines = False, []
    for line in text.splitlines():
        if not line.startswith("\t"):  # a further line of the message before
            kept = line.startswith(tuple(LOGINS))
        if kept:
            lines.append(line)
    return "\n".join(lines)


@contextmanager
def watching_logs() -> Iterator[None]:
    """Watch every log until the end of the block, then check. Commands that tests run inherit the folder."""
    root, handlers = logging.getLogger(), logging.getLogger("pancake")
    level = handlers.level
    with TemporaryDirectory(prefix="logs-") as folder, pytest.MonkeyPatch.context() as patch:
        watch = LogWatch(Path(folder))
        root.addHandler(watch)
        handlers.setLevel(logging.INFO)
        patch.setenv(FOLDER, folder)
        try:
            yield
        finally:
            handlers.setLevel(level)
            root.removeHandler(watch)
        watch.inspect()
    watch.check()


class LineHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def captured_logs() -> Iterator[list[str]]:
    """Collect every line, of all levels, that would be written to standard output."""
    handler, root = LineHandler(), logging.getLogger()
    handler.setFormatter(JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
