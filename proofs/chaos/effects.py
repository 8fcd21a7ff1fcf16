"""The effects of leads and of ticks, as ids, and a checker in the manner of Jepsen's `total-queue`.

https://jepsen-io.github.io/jepsen/jepsen.checker.html#var-total-queue. It differs in one point: an id may be
attempted and acknowledged any number of times, since senders repeat, and has to be observed once.

| effect | ids |
|---|---|
| event | `<record>@<modified_on> <status>` |
| customer | `account <phone>`, `contact <phone>` |
| ticket | `<record> <name>` of each ticket, `assignment <number> of <staff>` of each that has an owner |
| notification | `<record>@<modified_on> <template>`; of a cron run its key without its time |
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import class_row, dict_row

from leads.adapters.database import load_queries
from proofs.sender import LeadVersion, Sent

QUERIES = load_queries(Path(__file__).parent)
EFFECTS = ("event", "customer", "ticket", "notification")
"""Event row; account and contact; ticket and counters of the roster; notification."""
PROBLEMS = ("lost", "duplicated", "unexpected")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ids of one effect, each list in order.

    `ok`: attempted and observed once. `lost`: acknowledged and never observed. `duplicated`: attempted and
    observed more than once. `unexpected`: observed and never attempted. `recovered`: those of `ok` that were
    not acknowledged. An id that was attempted, but neither acknowledged nor observed, is in no list.
    """

    attempted: int
    acknowledged: int
    ok: tuple[str, ...]
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    unexpected: tuple[str, ...]
    recovered: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected)

    def counts(self) -> dict[str, int]:
        lists = {name: len(getattr(self, name)) for name in ("ok", *PROBLEMS, "recovered")}
        return {"attempted": self.attempted, "acknowledged": self.acknowledged, **lists}


def check(attempted: Iterable[str], acknowledged: Iterable[str], observed: Iterable[str]) -> Verdict:
    """Compare what was attempted, and what was acknowledged of it, with what is observed in the end.

    Raises ValueError if an id was acknowledged and not attempted: the run recorded it wrongly.
    """
    tried, promised, seen = frozenset(attempted), frozenset(acknowledged), Counter(observed)
    if stray := promised - tried:
        raise ValueError(f"acknowledged, but not attempted: {', '.join(sorted(stray))}")
    once = {id_ for id_ in tried if seen[id_] == 1}
    return Verdict(
        attempted=len(tried),
        acknowledged=len(promised),
        ok=_sorted(once),
        lost=_sorted(promised - seen.keys()),
        duplicated=_sorted(id_ for id_ in tried if seen[id_] > 1),
        unexpected=_sorted(seen.keys() - tried),
        recovered=_sorted(once - promised),
    )


@dataclass(frozen=True, slots=True)
class Verdicts:
    effects: Mapping[str, Verdict]

    @property
    def is_valid(self) -> bool:
        return all(verdict.is_valid for verdict in self.effects.values())

    def ids(self, problem: str) -> list[str]:
        """Return the ids of one of PROBLEMS over all effects, each as `effect: id`."""
        return [
            f"{effect}: {id_}"
            for effect, verdict in self.effects.items()
            for id_ in getattr(verdict, problem)
        ]

    def as_json(self) -> dict[str, object]:
        counts = {effect: verdict.counts() for effect, verdict in self.effects.items()}
        return {**{problem: self.ids(problem) for problem in PROBLEMS}, "effects": counts}


def _sorted(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(ids))


FINAL_STATUSES = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")
_KEY_TIME = re.compile(r":\d{4}-\d\d-\d\d(T[\d:.]+(\+00:00|Z)?)?$")
"""The end of an idempotency key of a cron run: a day, or a scheduled time."""
_NEW_SOURCE = re.compile(r"^(new_source:[^:]+):.*")
"""Ends with the id of a row, which differs in each run."""


Ids = dict[str, list[str]]
"""The ids of each of EFFECTS."""


def count_unfinished(database_url: str) -> int:
    """Count the events without a final status, or with notifications to send."""
    (row,) = _read(database_url, (QUERIES["effects/count_unfinished"], [list(FINAL_STATUSES)]))[0]
    return int(row["number"])


def observe(database_url: str, sent: Iterable[Mapping[str, Any]]) -> Ids:
    """Return the ids of all effects; `sent` are the notifications that the service accepted."""
    names = ("load_events", "load_customers", "load_tickets")
    events, customers, tickets = _read(database_url, *((QUERIES[f"effects/{name}"], []) for name in names))
    (counters,) = _read(database_url, (QUERIES["effects/load_assigned"], []))
    versions = {str(row["id"]): f"{row['record_id']}@{row['modified_on']}" for row in events}
    return {
        "event": [f"{versions[str(row['id'])]} {row['status']}" for row in events],
        "customer": [row["id"] for row in customers],
        "ticket": [
            *(f"{row['record_id']} {row['name']}" for row in tickets),
            *_assignments({row["owner"]: row["assigned"] for row in counters}),
        ],
        "notification": [_notification_id(each, versions) for each in sent],
    }


def expected_assignments(database_url: str) -> list[str]:
    """Return the ids of the assignments that the rosters have to count: one for each ticket."""
    (tickets,) = _read(database_url, (QUERIES["effects/load_tickets"], []))
    return _assignments(Counter(row["owner"] for row in tickets if row["owner"] is not None))


def check_effects(attempted: Ids, acknowledged: Ids, observed: Ids) -> Verdicts:
    return Verdicts(
        {effect: check(attempted[effect], acknowledged[effect], observed[effect]) for effect in EFFECTS}
    )


def _assignments(tickets_by_owner: Mapping[str, int]) -> list[str]:
    return [
        f"assignment {number} of {owner}"
        for owner, tickets in tickets_by_owner.items()
        for number in range(1, tickets + 1)
    ]


def _notification_id(notification: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    key = str(notification["idempotency_key"])
    version = versions.get(key.partition(":")[0])
    if version:
        return f"{version} {notification['template_code']}"
    if new_source := _NEW_SOURCE.match(key):
        return f"{new_source[1]} {notification['data']['detail']}"
    return _KEY_TIME.sub("", key)


def _read(database_url: str, *statements: tuple[bytes, Sequence[object]]) -> list[list[dict[str, Any]]]:
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        return [db_connection.execute(statement, values).fetchall() for statement, values in statements]


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """Pancake's records and the period of deep lag; what is stored of them.

    `rows` are those of events, `tickets` the phones of open tickets, `assignments` those that tickets show.
    """

    records: Sequence[Mapping[str, Any]]
    deep_lag: tuple[datetime, datetime]
    rows: Sequence[Row]
    tickets: Sequence[str]
    observed: Ids
    assignments: Sequence[str]


def load_evidence(
    database_url: str,
    records: Sequence[Mapping[str, Any]],
    deep_lag: tuple[datetime, datetime],
    sent: Sequence[Mapping[str, Any]],
) -> Evidence:
    """Load what is stored; `sent` are the notifications that the service accepted."""
    statements = (QUERIES[f"effects/{name}"] for name in ("load_rows", "load_open_tickets"))
    rows, tickets = _read(database_url, *((statement, ()) for statement in statements))
    observed, assignments = observe(database_url, sent), expected_assignments(database_url)
    return Evidence(records, deep_lag, rows, [row["phone"] for row in tickets], observed, assignments)


def judge(evidence: Evidence) -> tuple[Verdicts, dict[str, int]]:
    """Judge whether each record was processed and has one customer, one open ticket and one notification.

    All are acknowledged: Pancake's lists show every record, so none may be missing. Returns also how many
    records each layer stored.
    """
    events: dict[str, list[Row]] = {}
    for row in evidence.rows:
        events.setdefault(row["record_id"], []).append(row)
    covering = {record["id"]: _covering(record, events.get(record["id"], [])) for record in evidence.records}
    done = {record_id: found for record_id, found in covering.items() if found is not None}
    phones, observed = {found["phone"] for found in done.values()}, evidence.observed
    assigned = [id_ for id_ in observed["ticket"] if id_.startswith("assignment ")]
    # Leads of the day before: their owners are told of all at once, when business hours begin.
    told_later = {row["record_id"] for row in evidence.rows if row["is_told_later"]}
    customers = (f"{kind} {phone}" for kind in ("account", "contact") for phone in phones)
    told = (f"{record_id} {NEW_LEAD}" for record_id in covering if record_id not in told_later)
    verdicts = {
        "event": _complete(covering, _observed_records(evidence, events, done)),
        "customer": _complete(customers, observed["customer"]),
        "ticket": _complete([*phones, *evidence.assignments], [*evidence.tickets, *assigned]),
        "notification": _complete(told, of_new_leads(observed["notification"])),
    }
    layers = Counter("replay" if row["replay_count"] else row["origin"] for row in done.values())
    return Verdicts(verdicts), dict(sorted(layers.items()))


def _complete(ids: Iterable[str], observed: Iterable[str]) -> Verdict:
    attempted = list(ids)
    return check(attempted, attempted, observed)


def _covering(record: Mapping[str, Any], rows: Sequence[Row]) -> Row | None:
    """Return the first event that covers the newest version of a record, if one of them was processed."""
    newest = _moment(record["modified_on"])
    covering = [row for row in rows if row["modified_on"] >= newest]
    return covering[0] if any(row["status"] == "processed" for row in covering) else None


def _observed_records(
    evidence: Evidence, events: Mapping[str, Sequence[Row]], done: Mapping[str, Row]
) -> Iterable[str]:
    """Yield each processed record, and again for each version that a layer stored although it was covered.

    A record has another id if reconciliation stored it and polling should have, or if Pancake lacks it.
    """
    known = {record["id"] for record in evidence.records}
    yield from done
    for record_id, rows in events.items():
        if record_id not in known:
            yield record_id
        yield from [record_id] * _count_stored_twice(rows)
    for record_id, row in done.items():
        in_deep_lag = evidence.deep_lag[0] <= row["modified_on"] <= evidence.deep_lag[1]
        if row["origin"] == "reconcile" and not in_deep_lag:
            yield f"{record_id} stored by reconciliation, polling should have"


def _count_stored_twice(rows: Sequence[Row]) -> int:
    return sum(
        later["origin"] != "webhook"
        and any(
            earlier["modified_on"] >= later["modified_on"] and earlier["created_at"] < later["created_at"]
            for earlier in rows[:number]
        )
        for number, later in enumerate(rows)
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return moment - timedelta(microseconds=moment.microsecond % 1000)


NEW_LEAD = "noti_pancake_new_lead"


def check_stream(database_url: str, notifications_url: str, sent: Sent) -> Verdicts:
    """Check every effect of the versions that were posted. A ticket has to show its newest version."""
    notifications = httpx.get(f"{notifications_url}/sent", timeout=30).json()["sent"]
    observed = observe(database_url, notifications)
    observed["notification"] = of_new_leads(observed["notification"])
    assignments = expected_assignments(database_url)
    attempted = expected_effects(sent.versions, assignments)
    return check_effects(attempted, acknowledged_effects(sent, attempted, assignments), observed)


def acknowledged_effects(sent: Sent, attempted: Ids, assignments: Sequence[str]) -> Ids:
    """Return the ids of what was answered with 2xx; of a record's ticket the name of any version."""
    records = {version.record_id for version in sent.acknowledged} | {"assignment"}
    tickets = [id_ for id_ in attempted["ticket"] if id_.split(" ")[0] in records]
    return {**expected_effects(sent.acknowledged, assignments), "ticket": tickets}


def expected_effects(versions: Sequence[LeadVersion], assignments: Sequence[str]) -> Ids:
    """Return the ids of the effects; none of notified updates, which depend on the order of versions."""
    newest = {version.record_id: version for version in versions}
    phones = {f"+84{version.phone[1:]}" for version in versions}
    return {
        "event": [f"{version.record_id}@{version.modified_on} processed" for version in versions],
        "customer": [f"{kind} {phone}" for kind in ("account", "contact") for phone in phones],
        "ticket": [*(f"{record} {version.name}" for record, version in newest.items()), *assignments],
        "notification": [f"{record} {NEW_LEAD}" for record in newest],
    }


def of_new_leads(ids: Iterable[str]) -> list[str]:
    """Leave the time of the version out: whichever was processed first created the ticket."""
    return [f"{id_.partition('@')[0]} {NEW_LEAD}" for id_ in ids if id_.endswith(f" {NEW_LEAD}")]


@dataclass(frozen=True)
class Run:
    """A row of pancake_cron_run; `tick` is the name of the cron and when the tick was due, in UTC."""

    tick: str
    name: str
    outcome: str


@dataclass(frozen=True)
class EngineTick:
    """A tick of the engine, and how many of its deliveries did the work."""

    tick: str
    is_delivered: bool
    succeeded: int


def tick_id(name: str, due: datetime) -> str:
    """Return the id of a tick; `due` is in UTC."""
    return f"{name} {due:%d %H:%M:%S}"


def load_runs(database_url: str) -> list[Run]:
    with psycopg.connect(database_url, row_factory=class_row(Run)) as db_connection:
        return db_connection.execute(QUERIES["effects/load_runs"]).fetchall()


def load_engine_ticks(database_url: str, start: datetime, end: datetime) -> list[EngineTick]:
    with psycopg.connect(database_url, row_factory=class_row(EngineTick)) as db_connection:
        return db_connection.execute(QUERIES["effects/load_engine_ticks"], (start, end)).fetchall()


def check_delivered(answers: Mapping[str, Sequence[str]], runs: Sequence[Run]) -> Verdict:
    """Check ticks that the scenario delivered, several times each, by the results of their answers."""
    known = {run.tick for run in runs}
    worked = {tick: max(1, results.count("succeeded")) for tick, results in answers.items() if tick in known}
    return check(answers, answers, (tick for tick, times in worked.items() for _ in range(times)))


def check_engine_ticks(ticks: Sequence[EngineTick], runs: Sequence[Run]) -> Verdict:
    """Check the ticks of the engine; those that it delivered are acknowledged."""
    known = {run.tick for run in runs}
    return check(
        (each.tick for each in ticks),
        (each.tick for each in ticks if each.is_delivered),
        (each.tick for each in ticks if each.tick in known for _ in range(max(1, each.succeeded))),
    )


def count_succeeded(runs: Sequence[Run], name: str) -> int:
    return sum(run.name == name and run.outcome == "succeeded" for run in runs)
