"""Test leads for the public URL: steady traffic whatever the answers are, counted lead by lead."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import typer

from ops.clients.db_session import QUERIES, DbSession
from ops.clients.plain_http import NoAnswer, ask
from ops.failures import WrongUsage, file_reason
from ops.waiting import poll

WEBHOOK_FILE = Path("webhook-url.txt")
WebhookFile = Annotated[
    Path, typer.Option("--webhook-url-file", help="The file that leads connection create wrote.")
]
ANSWER_SECONDS = 10.0
POLL_SECONDS = 1.0
AT_ONCE = 64
"""Requests at a time; more would only measure this machine."""
ACCEPTED = ("received", "duplicate", "skipped_kill_switch", "skipped_source_disabled", "spooled")
"""What the edge answers for a lead that is stored, or kept on its disk."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where Pancake delivers to, with the header that it sends."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


def read_webhook(path: Path) -> Webhook:
    """Read the file of `leads connection create`: the URL, then `Header: value`. Raises WrongUsage."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}. Give --webhook-url-file.") from error
    if not lines[0].startswith("http"):
        raise WrongUsage(f"{path} does not begin with a URL: it is not a file of leads connection create.")
    name, _, value = lines[1].partition(": ") if len(lines) > 1 else ("", "", "")
    return Webhook(lines[0].strip(), {name: value.strip()} if value else {})


@dataclass(slots=True)
class Sent:
    """What was sent: record ids by their answer. `slowest_seconds` is of those that were answered.

    `first_at` and `last_at` are when the first and the last lead were sent, by time.monotonic().
    """

    ids: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def per_second(self) -> float:
        """The rate at which leads were sent, not the planned one; 0 of fewer than two."""
        seconds = self.last_at - self.first_at
        return (len(self.ids) - 1) / seconds if seconds > 0 else 0.0


class Sender:
    """Posts test leads at a constant rate between `__enter__` and `stop`; a context manager."""

    def __init__(self, webhook: Webhook, prefix: str, rate: float, source: str, workspace: int) -> None:
        self.sent = Sent()
        self.prefix = prefix
        self._webhook = webhook
        self._rate = rate
        self._lead = {
            "type": "records", "event_type": "insert", "workspace_id": workspace, "source": [source],
            "table_id": "lead",
        }  # fmt: skip
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, "drill")
        self._pacer = threading.Thread(target=self._pace, daemon=True)
        self._first_phone = int(time.time()) % 800 * 100_000 + 10_000_000

    def _pace(self) -> None:
        """Post at the planned times: a slow answer delays no other lead."""
        started = time.monotonic()
        number = 0
        while not self._is_stopping.is_set():
            number += 1
            self._pool.submit(self._post, number)
            self._is_stopping.wait(max(0.0, started + number / self._rate - time.monotonic()))

    def _post(self, number: int) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        record_id = f"{self.prefix}{number:06d}"
        lead = self._lead | {
            "id": record_id, "name": f"DIỄN TẬP {number}", "created_on": now, "modified_on": now,
            "phone_number": f"09{self._first_phone + number:08d}",
        }  # fmt: skip
        sent = self.sent
        with self._lock:
            started = sent.last_at = time.monotonic()
            sent.first_at = sent.first_at or started
            sent.ids.append(record_id)
        status, seconds = self._ask(lead)
        with self._lock:
            sent.answers[status] = sent.answers.get(status, 0) + 1
            sent.slowest_seconds = max(sent.slowest_seconds, seconds)
            if status in ACCEPTED:
                sent.accepted.add(record_id)

    def _ask(self, lead: dict[str, Any]) -> tuple[str, float]:
        """Return what was answered, and after how many seconds."""
        webhook = self._webhook
        try:
            answer = ask(webhook.url, body=lead, headers=webhook.headers, timeout_seconds=ANSWER_SECONDS)
        except NoAnswer:
            return "no answer", 0.0
        told = answer.json.get("status") if isinstance(answer.json, dict) else None
        return str(told) if answer.status == 200 else f"status {answer.status}", answer.seconds

    def stop(self) -> None:
        """Send no more, and wait for the answers that are due."""
        self._is_stopping.set()
        self._pacer.join()
        self._pool.shutdown(wait=True)

    def __enter__(self) -> Self:
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


WRONG = ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
"""What can be wrong with a test lead.

Neither lost nor unacknowledged ones are stored: the edge accepted the lost ones, the others got no answer or
an error. Unexpected ones were stored and never sent.
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """How many test leads were processed, and the ids of the others by what is wrong with them."""

    processed: int
    wrong: dict[str, list[str]]

    @property
    def is_waiting(self) -> bool:
        """Whether a lead is not stored or not finished, which time can mend."""
        return any(self.wrong[name] for name in ("lost", "unacknowledged", "unfinished"))


def count_records(db: DbSession, prefix: str, sent: Sent) -> Ledger:
    """Compare what was sent with what is stored, with or without an answer."""
    rows = db.execute(QUERIES["golive/list_drill_records"], {"prefix": prefix}).fetchall()
    stored = {row["record_id"]: row for row in rows}
    found = {
        "lost": sent.accepted - stored.keys(),
        "unacknowledged": set(sent.ids) - sent.accepted - stored.keys(),
        "doubled": {name for name, row in stored.items() if row["events"] > 1 or row["tickets"] > 1},
        "unfinished": {
            name for name, row in stored.items() if not row["is_processed"] or row["tickets"] == 0
        },
        "unexpected": stored.keys() - set(sent.ids),
    }
    processed = sum(bool(row["is_processed"]) for row in rows)
    return Ledger(processed, {name: sorted(found[name]) for name in WRONG})


def wait_until_final(db: DbSession, prefix: str, sent: Sent, seconds: float) -> Ledger:
    """Count until every lead is stored and finished, or the time is over."""
    for _ in poll(seconds, POLL_SECONDS):
        ledger = count_records(db, prefix, sent)
        if not ledger.is_waiting:
            break
    return ledger
