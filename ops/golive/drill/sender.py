"""Steady traffic of test leads to the public URL, whatever the answers are."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ops.clients.plain_http import NoAnswer, ask
from ops.failures import WrongUsage, file_reason

ANSWER_SECONDS = 10.0
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
            "type": "records",
            "event_type": "insert",
            "workspace_id": workspace,
            "source": [source],
        }
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
        lead = self._numbered(number)
        with self._lock:
            started = self.sent.last_at = time.monotonic()
            self.sent.first_at = self.sent.first_at or started
            self.sent.ids.append(lead["id"])
        try:
            answer = ask(
                self._webhook.url, body=lead, headers=self._webhook.headers, timeout_seconds=ANSWER_SECONDS
            )
        except NoAnswer:
            self._note(lead["id"], "no answer", 0.0)
            return
        told = answer.json.get("status") if isinstance(answer.json, dict) else None
        status = str(told) if answer.status == 200 else f"status {answer.status}"
        self._note(lead["id"], status, time.monotonic() - started)

    def _note(self, record_id: str, status: str, seconds: float) -> None:
        with self._lock:
            self.sent.answers[status] = self.sent.answers.get(status, 0) + 1
            self.sent.slowest_seconds = max(self.sent.slowest_seconds, seconds)
            if status in ACCEPTED:
                self.sent.accepted.add(record_id)

    def _numbered(self, number: int) -> dict[str, Any]:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        return self._lead | {
            "id": f"{self.prefix}{number:06d}", "table_id": "lead", "name": f"DIỄN TẬP {number}",
            "phone_number": f"09{self._first_phone + number:08d}", "created_on": now, "modified_on": now,
        }  # fmt: skip

    def stop(self) -> None:
        """Send no more, and wait for the answers that are due."""
        self._is_stopping.set()
        self._pacer.join()
        self._pool.shutdown(wait=True)

    def __enter__(self) -> Self:
        self._pacer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
