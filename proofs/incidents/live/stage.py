"""A sandbox in which an incident happens: traffic, and the hands of those who break it."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from ops.waiting import poll
from proofs.chaos.stream import versions
from proofs.incidents.breakages import TIMEOUT_SECONDS, Installation
from sandbox.edge.nginx import NginxEdge
from sandbox.monitoring.observation import ObservedSandbox
from sandbox.stack.observer import Observer

BASELINE_LEADS = 60
"""Processed before the incident, as a part of the day but not of the last hour."""
MAX_OPEN_POSTS = 64
AGEING_SECONDS = 1.0
POLL_SECONDS = 0.2
_AGE = """
    UPDATE pancake_webhook_event
    SET created_at = created_at - %(by)s::interval, arrived_at = arrived_at - %(by)s::interval,
        processed_at = processed_at - %(by)s::interval, replayed_at = replayed_at - %(by)s::interval
"""
_WAITING = """
    SELECT id FROM pancake_webhook_event
    WHERE status = 'received' AND created_at > now() - %(by)s::interval FOR UPDATE SKIP LOCKED
"""
_IS_UNFINISHED = """
    (status IN ('received', 'ingested')
        OR notifications <> '[]' AND notified_at IS NULL AND notify_given_up_at IS NULL)
"""
_AGE_RUNS = """
    UPDATE pancake_cron_run
    SET scheduled_time = scheduled_time - %(by)s::interval, started_at = started_at - %(by)s::interval,
        finished_at = finished_at - %(by)s::interval
    WHERE name = %(name)s
"""


@contextmanager
def repeating(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do some work again and again within the block, at a constant rate as long as it takes no longer."""
    stop = threading.Event()

    def run() -> None:
        started = time.monotonic()
        for number in itertools.count(1):
            work()
            if stop.wait(max(0.0, started + number * seconds - time.monotonic())):
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(TIMEOUT_SECONDS)


class Stage(Installation):
    """Access to every part of one sandbox."""

    def __init__(self, sandbox: ObservedSandbox, seed: int) -> None:
        super().__init__(sandbox)
        self._versions = versions(seed, new_share=1.0)
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._naming = threading.Lock()
        self._ticks = itertools.count()

    def close(self) -> None:
        self._http.close()

    def prepare(self) -> None:
        """Process some leads, and move them out of the last hour."""
        for _ in range(BASELINE_LEADS):
            self.deliver()
        Observer(self.sandbox.database_url, self.sandbox.notifications_url).wait_final(TIMEOUT_SECONDS)
        self.age("2 hours")

    def deliver(self) -> None:
        """Post a new lead to the edge, as Pancake does; the edge answers even if it can only keep it."""
        with self._naming:
            version = next(self._versions)
        self._http.post(self.sandbox.webhook_url, content=version.body)

    @contextmanager
    def traffic(self, leads_per_second: float) -> Iterator[None]:
        """Post leads at a constant rate within the block, whatever the answers are."""
        with (
            ThreadPoolExecutor(MAX_OPEN_POSTS) as posts,
            repeating(lambda: posts.submit(self.deliver), 1 / leads_per_second),
        ):
            yield

    def wait_for_status(self, status: str, count: int) -> None:
        """Wait until so many events have a status. Raises TimeoutError."""
        found = "SELECT id FROM pancake_webhook_event WHERE status = %(status)s"
        for _ in poll(TIMEOUT_SECONDS, POLL_SECONDS):
            if self.sql(found, {"status": status}) >= count:
                return
        raise TimeoutError(f"there are no {count} events with the status {status}")

    def retry_waiting(self) -> None:
        """Let everything that waits for a later try be due, and try it."""
        self.sql("UPDATE pancake_webhook_event SET next_attempt_at = now() WHERE status = 'failed'")
        self.sql("UPDATE pancake_webhook_event SET notify_next_at = now() WHERE notified_at IS NULL")
        # As retry_failed fires what has waited for two minutes; the rules have no such minutes.
        self.sql("UPDATE pancake_webhook_event SET received_at = now() WHERE status = 'received'")
        self.tick("retry_failed")

    def age(self, by: str) -> None:
        """Let time pass for the events that are finished: the windows of the database move on."""
        self.sql(f"{_AGE} WHERE NOT {_IS_UNFINISHED}", {"by": by})

    @contextmanager
    def ageing_waiting(self, by: str) -> Iterator[None]:
        """Let that much time pass for each event that waits within the block, once."""
        with repeating(lambda: self.sql(f"{_AGE} WHERE id IN ({_WAITING})", {"by": by}), AGEING_SECONDS):
            yield

    def wait_finished(self) -> None:
        """Wait, for a minute at most, for what is in the edge's spool and for the events of now.

        What is stored or processed after `age` would count as slow for an hour.
        """
        edge, now = self.sandbox.edge, {"now": datetime.now(UTC)}
        left = f"SELECT id FROM pancake_webhook_event WHERE created_at <= %(now)s AND {_IS_UNFINISHED}"
        assert isinstance(edge, NginxEdge)
        for _ in poll(TIMEOUT_SECONDS, POLL_SECONDS):
            if not (edge.held() or self.sql(left, now)):
                return

    def age_runs(self, name: str, by: str) -> None:
        """Let time pass for the runs of a cron."""
        self.sql(_AGE_RUNS, {"by": by, "name": name})

    def pancake(self, path: str, body: Mapping[str, Any]) -> None:
        """Call the control API of Pancake's stand-in."""
        self._http.post(f"{self.sandbox.pancake_url}/control/{path}", json=body).raise_for_status()

    def tick(self, name: str) -> str:
        """Deliver a tick of a cron now, until the handlers finish it; return its result."""
        call = {
            "id": f"incident-{next(self._ticks)}",
            "name": f"pancake_{name}",
            "scheduled_time": datetime.now(UTC).isoformat(),
            "payload": {},
        }
        while True:
            answer = self._http.post(
                f"{self.sandbox.handlers_url}/cron/{name}",
                json=call,
                headers={"X-Handler-Secret": self.sandbox.keys.handler_secret},
            )
            if answer.status_code == 503 and "Retry-After" in answer.headers:
                time.sleep(0.2)
                continue
            return str(answer.json().get("result", answer.status_code))
