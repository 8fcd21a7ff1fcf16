"""Make one incident in a new sandbox, and compare the alerts that arrive with those of the catalogue."""

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from proofs.incidents.catalogue import INCIDENTS
from proofs.incidents.live.breakages import BREAKAGES
from proofs.incidents.live.stage import Stage
from sandbox.monitoring.observation import Observation, ObservedSandbox
from sandbox.monitoring.receiver import Inbox, Notification
from sandbox.monitoring.rules import WATCHDOG
from sandbox.postgres.server import Cluster

SETTLE_SECONDS = 8.0
"""After the start: the first evaluations, and the heartbeat."""
MAX_SECONDS = 180.0
"""For the alerts to arrive, and again for those that come afterwards."""
MAX_RESOLVE_SECONDS = 900.0
"""The short window of PancakeBurnCreeping has six hours."""
MIN_HOLD_SECONDS = 10.0
"""How long an incident goes on when its alerts have arrived: others may follow."""
HOLD_SECONDS = {"metadata_wiped": 35.0}
"""Longer: until leads count as slow."""
CLEAN, CLEAN_LEADS_PER_SECOND = "clean", 1.0
HEARTBEAT = frozenset({WATCHDOG})
LEADS_PER_SECOND = {"database_slow": 6.0, "p99_regression": 4.0, "webhook_silent": 0.0, "stuck_lock": 0.2}
"""Traffic during an incident, by default 2.0: the database has to queue, and a silent webhook brings none."""


@dataclass(frozen=True)
class Outcome:
    """What arrived. `early`: before anything was broken; `unresolved`: still firing at the end."""

    name: str
    sent: frozenset[str]
    expected: frozenset[str]
    early: frozenset[str]
    unresolved: frozenset[str]
    seconds: float
    has_heartbeat: bool
    error: str = ""
    """Why the incident could not be made or mended."""

    @property
    def missing(self) -> frozenset[str]:
        return self.expected - self.sent

    @property
    def unexpected(self) -> frozenset[str]:
        return self.sent - self.expected

    @property
    def is_ok(self) -> bool:
        problems = (self.missing, self.unexpected, self.early, self.unresolved)
        return self.has_heartbeat and not self.error and not any(problems)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as it is printed."""
        names = {
            field: sorted(getattr(self, field))
            for field in ("sent", "missing", "unexpected", "early", "unresolved")
        }
        return {
            "name": self.name,
            "ok": self.is_ok,
            **names,
            "error": self.error,
            "seconds": round(self.seconds, 1),
        }


def run_incident(
    name: str, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Make an incident, wait for its alerts, mend it, and wait until they are resolved."""
    started = time.monotonic()
    incident, inbox = INCIDENTS[name], Inbox(on_arrival)
    with ObservedSandbox(cluster, factor=factor) as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        stage.prepare()
        rate = LEADS_PER_SECOND.get(name, 2.0)
        with Observation(sandbox, inbox):
            with stage.traffic(rate) if rate else nullcontext():
                time.sleep(SETTLE_SECONDS)
                early = inbox.sent() - HEARTBEAT
                with BREAKAGES[name](stage):
                    inbox.wait(lambda box: incident.sent - incident.after <= box.sent(), MAX_SECONDS)
                    time.sleep(HOLD_SECONDS.get(name, MIN_HOLD_SECONDS))
                inbox.wait(lambda box: incident.sent <= box.sent(), MAX_SECONDS)
                stage.wait_finished()
                stage.age("2 hours")
                inbox.wait(lambda box: box.firing() == HEARTBEAT, MAX_RESOLVE_SECONDS)
            return Outcome(
                name=name,
                sent=frozenset(inbox.sent() - HEARTBEAT),
                expected=incident.sent,
                early=frozenset(early),
                unresolved=frozenset(inbox.firing() - HEARTBEAT),
                seconds=time.monotonic() - started,
                has_heartbeat=inbox.sent() >= HEARTBEAT,
            )


def run_clean(
    seconds: float, cluster: Cluster, factor: float, on_arrival: Callable[[Notification], None]
) -> Outcome:
    """Let leads come in for a while with nothing broken."""
    started = time.monotonic()
    inbox = Inbox(on_arrival)
    with ObservedSandbox(cluster, factor=factor) as sandbox, closing(Stage(sandbox, seed=1)) as stage:
        stage.prepare()
        with Observation(sandbox, inbox), stage.traffic(CLEAN_LEADS_PER_SECOND):
            time.sleep(seconds)
        return Outcome(
            name=CLEAN,
            sent=frozenset(inbox.sent() - HEARTBEAT),
            expected=frozenset(),
            early=frozenset(),
            unresolved=frozenset(inbox.firing() - HEARTBEAT),
            seconds=time.monotonic() - started,
            has_heartbeat=inbox.sent() >= HEARTBEAT,
        )


def failed(name: str, error: str, seconds: float) -> Outcome:
    """Return the outcome of an incident that could not be made or mended."""
    none: frozenset[str] = frozenset()
    return Outcome(name, none, none, none, none, seconds, has_heartbeat=False, error=error)
