"""What happens to leads, minute by minute, under conditions: the queues, states and clocks behind the series.

It is a model of the flow, not of the code: who delivers, stores, processes and notifies, and what waits.
The status of the connection is judged by the product's own rule.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from leads.adapters.breaker import FAILURES_TO_OPEN, WINDOW_SECONDS
from leads.domain.body import ICT
from leads.domain.health import ACTIVE, ALIVE, REJECTED, UNAVAILABLE, Signs, judge
from leads.services.cron_work import CRON_PERIOD_SECONDS
from sandbox.pancake.leads import relative_rate

CRONS = tuple(CRON_PERIOD_SECONDS)
CRONS_WITH_PANCAKE = frozenset({"poll_records", "reconcile_daily", "sync_sources"})
"""The crons that fail when Pancake's API does; check_connection stores a status instead."""
CRON_RETRY_MINUTES = {"sync_sources": 5, "reconcile_daily": 5}
"""When Hasura delivers a failed tick again; one minute later of the other crons."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of the parts in one minute. The defaults are a day on which everything works."""

    handlers_up: tuple[bool, ...] = (True, True)
    engine_takes_deliveries: bool = True
    event_trigger_exists: bool = True
    allow_list_has_ours: bool = True
    scheduled_crons: frozenset[str] = frozenset(CRONS)
    pancake_answers: bool = True
    webhook_delivers: bool = True
    slow_share: float = 0.0
    """Of the deliveries: those that take SLOW_STORE_SECONDS to be stored."""
    leads_per_minute_processed: float = float("inf")
    """What the handlers can process in a minute."""
    failing_share: float = 0.0
    """Of the leads: those that every attempt fails on, until they are dead letters."""
    locked_events: int = 0
    found_missing: int = 0
    """By the reconciliations of the last day."""
    kill_switch: bool = False
    restarts_each_minute: bool = False
    has_old_replica: bool = False
    database_up: bool = True
    database_writable: bool = True
    """False also of a full disk, which no check of the handlers sees: then `is_full` is set too."""
    is_full: bool = False
    engine_up: bool = True
    secret_matches: bool = True
    source_on: bool = True
    connection_on: bool = True
    neighbour_delivers: bool = True
    """Of the second connection."""
    failing_crons: frozenset[str] = frozenset()
    edge_up: bool = True
    edge_disk_writable: bool = True
    edge_finds_paths: bool = True
    """False: its resolver is wrong."""
    notifications_accepted: bool = True
    key_accepted: bool = True
    has_roster: bool = True
    is_holiday: bool = False
    clock_ahead_seconds: float = 0.0
    token_days: float = 60.0
    certificate_days: float = 60.0
    invalid_share: float = 0.0
    """Of the leads: those whose content is bad."""
    failing_leads: int = 0
    """So many of the next leads are hopeless, as with `failing_share`."""

    @property
    def is_served(self) -> bool:
        """Whether a process of the handlers answers."""
        return any(self.handlers_up)

    @property
    def can_write(self) -> bool:
        return self.is_served and self.database_up and self.database_writable

    @property
    def can_store(self) -> bool:
        return self.can_write and self.edge_finds_paths

    @property
    def is_called(self) -> bool:
        """Whether Hasura calls the handlers, and they can work."""
        return self.can_write and self.engine_up and self.secret_matches

    @property
    def holds(self) -> str:
        """The status with which a delivery is stored, if it is held."""
        if self.kill_switch:
            return "skipped_kill_switch"
        return "" if self.source_on and self.connection_on else "skipped_source_disabled"


Timeline = Callable[[int], Conditions]
"""The conditions of each minute."""


def during(first: int, last: int, **changes: Any) -> Timeline:
    """Return a timeline with changes from minute `first` until before minute `last`."""
    normal, changed = Conditions(), replace(Conditions(), **changes)
    return lambda minute: changed if first <= minute < last else normal


MINUTE = timedelta(minutes=1)
NORMAL_FROM = 50.0
"""From this mean on a Poisson count is drawn from the normal distribution with its mean and variance."""


Traffic = Callable[[int], float]
"""The multiple of the usual leads that arrive in each minute."""


def usual(minute: int) -> float:
    return 1.0


def arrivals(
    start: datetime, count: int, leads_per_hour: float, seed: int, traffic: Traffic = usual
) -> list[int]:
    """Return the leads of each minute: Poisson counts around the rate of the hour."""
    chance = random.Random(seed)
    rates = (
        relative_rate((start + number * MINUTE).astimezone(ICT)) * traffic(number) for number in range(count)
    )
    return [poisson(chance, leads_per_hour / 60 * rate) for rate in rates]


def poisson(chance: random.Random, mean: float) -> int:
    if mean >= NORMAL_FROM:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    count, left = 0, chance.random()
    limit = math.exp(-mean)
    while left > limit:  # Knuth: the number of uniform factors until the product falls below e^-mean
        left *= chance.random()
        count += 1
    return count


RETRY_AT_MINUTES = (0, 1, 3, 13, 73)
"""The five attempts of a lead, by the backoff 30 s, 2 min, 10 min, 1 h; the last makes it a dead letter."""
DAILY_AT_MINUTE = {"reconcile_daily": 19 * 60, "purge_events": 20 * 60 + 30}
"""Of the day, UTC."""
ON_DUTY = range(8, 21)
"""The hours of the day in Vietnam in which a roster has a member who is on duty."""
PROCESS_SECONDS = 1.2
STORE_SECONDS, SLOW_STORE_SECONDS = 0.008, 3.0
ONCE_FAILING_SHARE = 0.0002
"""Of the leads: those that one attempt fails on."""


@dataclass
class Minute:
    edge: Counter[str] = field(default_factory=Counter)
    """Requests to the edge by status."""
    upstream: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Attempts of the edge by path and result."""
    stored: Counter[str] = field(default_factory=Counter)
    """Deliveries of the webhook by result of ingest."""
    store_seconds: list[tuple[float, int]] = field(default_factory=list)
    """How long deliveries took to be stored, as (seconds, deliveries)."""
    process_seconds: list[tuple[float, int]] = field(default_factory=list)
    results: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    """Deliveries that polling stored because the webhook did not bring them."""
    cron_runs: Counter[str] = field(default_factory=Counter)
    """Runs that succeeded, by name."""
    notified: int = 0
    errors: int = 0
    spooled: int = 0


class Stored:
    """The rows by the minute of their creation."""

    def __init__(self, minutes: int) -> None:
        self.webhook, self.poll = [0] * minutes, [0] * minutes
        self.processed, self.failed, self.dead, self.held = ([0] * minutes for _ in range(4))
        self.invalid, self.held_by_source = [0] * minutes, [0] * minutes


class Model:
    """Steps through the minutes in order; times of its state are seconds since the start."""

    def __init__(self, start: datetime, leads: Sequence[int], seed: int, connections: int) -> None:
        """All `connections` are at one host, and the crons run in one process."""
        self.start = start
        self._connections = connections
        self._failed_reads: deque[int] = deque(maxlen=FAILURES_TO_OPEN)
        self.stored = Stored(len(leads))
        self._leads = leads
        self._chance = random.Random(seed)
        self._spool: deque[tuple[int, int]] = deque()
        self._waiting: deque[tuple[int, int]] = deque()
        self._retries: dict[int, list[tuple[int, int, bool]]] = {}
        self._owed = self._missed = self._failed_probes = self._to_fail = 0
        self._missed_since: int | None = None
        self._webhook_at: int | None = None
        self._due: dict[str, int] = {}
        self._is_failing = self._kill_switch = False
        self.unsent_since: float | None = None
        self.unassigned_since: float | None = None
        self.breaker_open_since: float | None = None
        self.pancake_answered_at = 0.0
        self.cron_succeeded_at = dict.fromkeys(CRONS, 0.0)
        self.status = ACTIVE
        self.switched_at = -86_400.0
        self.database_seen_at = 0.0

    def step(self, minute: int, now: Conditions) -> Minute:
        seen = Minute()
        self._to_fail += now.failing_leads
        if now.database_up:
            self.database_seen_at = minute * 60.0
        if now.kill_switch != self._kill_switch:
            self._kill_switch, self.switched_at = now.kill_switch, minute * 60.0
        self._deliver(minute, now, seen)
        self._run_crons(minute, now, seen)
        self._process(minute, now, seen)
        self._retry(minute, now, seen)
        self._notify(minute, now, seen)
        self._assign(minute, now, seen)
        seen.spooled += sum(count for _, count in self._spool)
        return seen

    def _deliver(self, minute: int, now: Conditions, seen: Minute) -> None:
        count = self._leads[minute]
        if not (now.webhook_delivers and now.edge_up):
            self._owed += count
            return
        if not now.can_store:
            if not now.edge_disk_writable:
                self._owed += count
            elif count:
                self._spool.append((minute, count))
                seen.edge["spooled"] += count
                seen.upstream["hasura", "refused"] += count
                seen.upstream["handlers", "refused" if now.is_served else "down"] += count
            return
        slow = min(count, poisson(self._chance, count * now.slow_share))
        # The edge gives up on a slow one and keeps it; it is stored all the same, so its drain is quick.
        seen.edge.update(received=count - slow, spooled=slow)
        seen.spooled = slow
        takes = now.engine_takes_deliveries and now.engine_up and now.secret_matches
        path = "hasura" if takes else "handlers"
        if path == "handlers":
            seen.upstream["hasura", "refused" if now.engine_up else "down"] += count
        seen.upstream[path, "ok"] += count
        seen.store_seconds += [(STORE_SECONDS, count - slow), (SLOW_STORE_SECONDS, slow)]
        self._store(minute, count, now, seen)
        while self._spool:
            arrived, waiting = self._spool.popleft()
            seen.store_seconds.append(((minute - arrived) * 60.0, waiting))
            self._store(minute, waiting, now, seen)

    def _store(self, minute: int, count: int, now: Conditions, seen: Minute) -> None:
        if count:
            self._webhook_at, self._missed, self._missed_since = minute, 0, None
        self.stored.webhook[minute] += count
        seen.stored[now.holds or "received"] += count
        self._queue(minute, count, now)

    def _queue(self, minute: int, count: int, now: Conditions) -> None:
        if now.holds:
            self.stored.held[minute] += count
            self.stored.held_by_source[minute] += count * (not now.kill_switch)
        elif count:
            self._waiting.append((minute, count))

    def _run_crons(self, minute: int, now: Conditions, seen: Minute) -> None:
        moment = self.start + minute * MINUTE
        for name in CRONS:
            period = CRON_PERIOD_SECONDS[name] // 60
            of_day = moment.hour * 60 + moment.minute
            if (of_day - DAILY_AT_MINUTE.get(name, 0)) % period == 0 and name in now.scheduled_crons:
                self._due[name] = minute
        if now.is_called:
            due = (name for name, due_at in self._due.items() if due_at <= minute)
            for name in sorted(set(due) - now.failing_crons):
                self._run_cron(name, minute, now, seen)

    def _run_cron(self, name: str, minute: int, now: Conditions, seen: Minute) -> None:
        if name in CRONS_WITH_PANCAKE:
            self._call_pancake(minute, now)
            if not (now.pancake_answers and now.key_accepted):
                self._due[name] = minute + CRON_RETRY_MINUTES.get(name, 1)
                return
        if name == "poll_records" and self._owed:
            self._missed += self._owed
            self._missed_since = self._missed_since if self._missed_since is not None else minute
            seen.missed = self._owed
            self.stored.poll[minute] += self._owed
            self._queue(minute, self._owed, now)
            self._owed = 0
        if name == "check_connection":
            self._check_connection(minute, now)
        self.cron_succeeded_at[name] = minute * 60.0
        seen.cron_runs[name] += 1
        del self._due[name]

    def _call_pancake(self, minute: int, now: Conditions) -> None:
        if now.pancake_answers:
            self.pancake_answered_at, self.breaker_open_since = minute * 60.0, None
            return
        self._failed_reads.extend([minute] * self._connections)
        is_full = len(self._failed_reads) == FAILURES_TO_OPEN
        if self.breaker_open_since is None and is_full:
            is_fast = (minute - self._failed_reads[0]) * 60 <= WINDOW_SECONDS
            self.breaker_open_since = minute * 60.0 if is_fast else None

    def _check_connection(self, minute: int, now: Conditions) -> None:
        self._call_pancake(minute, now)
        self._failed_probes = 0 if now.pancake_answers else self._failed_probes + 1
        answer = ALIVE if now.key_accepted else REJECTED
        signs = Signs(
            probe=answer if now.pancake_answers else UNAVAILABLE,
            failed_probes=self._failed_probes,
            last_webhook_at=self._moment(self._webhook_at),
            missed=self._missed,
            missed_since=self._moment(self._missed_since),
        )
        self.status = judge(self.status, self.start + minute * MINUTE, signs)

    def _moment(self, minute: int | None) -> datetime | None:
        return None if minute is None else self.start + timedelta(minutes=minute)

    def _replay(self, minute: int, seen: Minute) -> None:
        """Replay what failed for good, as a person does after a repair."""
        rows = self.stored
        self._retries.clear()
        for created in range(minute):
            if again := rows.dead[created] + rows.failed[created]:
                rows.dead[created] = rows.failed[created] = 0
                rows.processed[created] += again
                seen.results["ticket_created"] += again

    def _process(self, minute: int, now: Conditions, seen: Minute) -> None:
        if not (now.is_called and now.event_trigger_exists):
            return
        if self._is_failing and not now.failing_share:
            self._replay(minute, seen)
        self._is_failing = bool(now.failing_share)
        left = now.leads_per_minute_processed
        while self._waiting and left >= 1:
            created, count = self._waiting.popleft()
            done = int(min(count, left))
            left -= done
            if done < count:
                self._waiting.appendleft((created, count - done))
            invalid = min(done, poisson(self._chance, done * now.invalid_share)) if now.invalid_share else 0
            self.stored.invalid[created] += invalid
            seen.results["invalid"] += invalid
            done -= invalid
            chosen = min(done, self._to_fail)
            self._to_fail -= chosen
            for share, is_hopeless in ((now.failing_share, True), (ONCE_FAILING_SHARE, False)):
                failing = min(done, poisson(self._chance, done * share))
                if is_hopeless:
                    failing = max(failing, chosen)
                self._retries.setdefault(minute, []).extend([(created, 0, is_hopeless)] * failing)
                self.stored.failed[created] += failing
                done -= failing
            self._finish(created, minute, done, seen)

    def _finish(self, created: int, minute: int, count: int, seen: Minute) -> None:
        self.stored.processed[created] += count
        seen.results["ticket_created"] += count
        seen.process_seconds.append((PROCESS_SECONDS + 60.0 * (minute - created), count))

    def _retry(self, minute: int, now: Conditions, seen: Minute) -> None:
        for created, attempt, is_hopeless in self._retries.pop(minute, []):
            if not now.is_called:
                self._retries.setdefault(minute + 1, []).append((created, attempt, is_hopeless))
            elif attempt and not is_hopeless:
                self.stored.failed[created] -= 1
                self._finish(created, minute, 1, seen)
            elif attempt + 1 < len(RETRY_AT_MINUTES):
                seen.results["failed"] += 1
                seen.errors += is_hopeless  # contention is logged as a warning
                wait = RETRY_AT_MINUTES[attempt + 1] - RETRY_AT_MINUTES[attempt]
                self._retries.setdefault(minute + wait, []).append((created, attempt + 1, is_hopeless))
            else:
                seen.results["dead_letter"] += 1
                seen.errors += 1
                self.stored.failed[created] -= 1
                self.stored.dead[created] += 1

    def _notify(self, minute: int, now: Conditions, seen: Minute) -> None:
        if now.allow_list_has_ours and now.notifications_accepted and now.is_called:
            seen.notified, self.unsent_since = seen.results["ticket_created"], None
        elif seen.results["ticket_created"] and self.unsent_since is None:
            self.unsent_since = minute * 60.0

    def _assign(self, minute: int, now: Conditions, seen: Minute) -> None:
        """Leads of the night wait for the first who come on duty."""
        hour = (self.start + minute * MINUTE).astimezone(ICT).hour
        if hour in ON_DUTY and now.has_roster and not now.is_holiday:
            self.unassigned_since = None
        elif seen.results["ticket_created"] and self.unassigned_since is None:
            self.unassigned_since = minute * 60.0

    def oldest(self, minute: int) -> dict[str, float | None]:
        """Return the creation of the oldest event by status; None without one."""
        day, found = range(max(0, minute - 1440), minute + 1), dict[str, float | None]()
        for status, counts in (("failed", self.stored.failed), ("dead_letter", self.stored.dead)):
            found[status] = next((made * 60.0 for made in day if counts[made]), None)
        found["received"] = self._waiting[0][0] * 60.0 if self._waiting else None
        return found
