"""No log of a test run holds a phone, a name, a token or a key: those that tests use are searched for.

Phones and names are found by their form, secrets by their value; those of a sandbox are new in each.
Searched are the logs of every server that `sandbox.processes.Processes` started (handlers, edge, stand-ins,
PostgreSQL), before their directories are removed, and the lines that handlers inside the test process would
write. `watching_logs` fails at the end of the session; with several workers each of them does.
"""

import base64
import binascii
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leads.adapters.logs import QUIET_LOGGERS, JsonFormatter
from sandbox.postgres.roles import LOGINS
from sandbox.processes import Processes
from sandbox.stack.keys import Keys
from tests.support.edge import fakes
from tests.support.edge.harness import TOKEN
from tests.support.pancake_simulator import API_KEY
from tests.support.settings import (
    EDGE_SECRET,
    HANDLER_SECRET,
    PREVIOUS_EDGE_SECRET,
    PREVIOUS_HANDLER_SECRET,
    WEBHOOK_TOKEN,
)

POSTGRES_LOG = "server.log"
LOGS = ("*.log", "log", "access.json")
# Any Vietnamese mobile number, alone or after its prefix.
PHONE = re.compile(r"(?<![0-9A-Za-z.])(?:0|\+?84)[35789][0-9]{8}(?![0-9A-Za-z])")
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
    "token": {WEBHOOK_TOKEN, TOKEN},
    "API key": {API_KEY},
    "secret": {
        HANDLER_SECRET, PREVIOUS_HANDLER_SECRET, EDGE_SECRET, PREVIOUS_EDGE_SECRET, fakes.EDGE_SECRET,
        fakes.HASURA_TOKEN,
    },
}  # fmt: skip


_FORMS = (("phone", PHONE), ("name", NAME), ("name", _SHORT_NAME), ("token", _JWT))


def add_keys(keys: Keys) -> None:
    """Search for the secrets of a sandbox too."""
    _values["token"].add(keys.webhook_token)
    _values["API key"].add(keys.pancake_api_key)
    _values["secret"] |= {
        keys.admin_secret, keys.jwt_key, keys.handler_secret, keys.edge_secret, keys.header_secret,
        keys.encryption_keys.partition(":")[2],
    }  # fmt: skip


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
    """Collects which log holds which kind of value, never the value."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonFormatter())
        self.findings: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Search a line that the handlers would write: they silence some libraries."""
        if record.levelno >= logging.WARNING or record.name not in QUIET_LOGGERS:
            self._search(f"the process's own log ({record.name}: {record.msg[:40]})", self.format(record))

    def inspect(self, directory: Path) -> None:
        """Search the logs of a directory."""
        found = {path for pattern in LOGS for path in directory.glob(f"**/{pattern}")}
        for path in sorted(path for path in found if path.is_file()):
            text = path.read_text(errors="replace")
            if path.name == POSTGRES_LOG:
                text = lines_of_logins(text)
            self._search(f"{directory.name}/{path.relative_to(directory)}", text)

    def check(self) -> None:
        """Raise AssertionError that names each log and the kinds of values in it."""
        assert not self.findings, "\n".join(["Logs hold what they must not:", *sorted(self.findings)])

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
def watching_logs() -> Iterator[LogWatch]:
    """Watch every log until the end of the block, then check."""
    watch, root, handlers = LogWatch(), logging.getLogger(), logging.getLogger("pancake")
    level = handlers.level
    root.addHandler(watch)
    handlers.setLevel(logging.INFO)
    Processes.before_removal.append(watch.inspect)
    Keys.after_generation.append(add_keys)
    try:
        yield watch
    finally:
        Keys.after_generation.remove(add_keys)
        Processes.before_removal.remove(watch.inspect)
        handlers.setLevel(level)
        root.removeHandler(watch)
    watch.check()
