"""Layer 2: read the records modified since the watermark and store what the webhook did not bring.

Called by: cron trigger `pancake_poll_records`, every 5 minutes.
"""

from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from leads.adapters.hasura_calls import CronCall
from leads.adapters.pancake_api import COMPLETE
from leads.domain import coverage
from leads.domain.listing import delivery_columns, listed, modified_on
from leads.domain.poll import Poll
from leads.services.connections import Connection, for_each, load_connections, problems
from leads.services.cron_runs import Notice, Report, Run
from leads.services.pancake_lists import PAUSED, Layer, look_up, walk
from leads.services.runtime import Answer, Runtime

SECONDS = 90
MAX_PAGES = 5_000
MAX_LOOK_UPS = 20
"""Suspects read one by one; more of them are proof enough."""


async def poll_records(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report tells for each connection the window and what was missed."""
    return await on.register.run(call, partial(poll_all, on), seconds=SECONDS)


async def poll_all(on: Runtime, run: Run) -> Report:
    """Poll every connection; one that runs out of time goes on at the next delivery of the tick."""
    connections = await load_connections(on.db, on.settings.key_ring)
    reports = await for_each(connections, partial(poll_connection, on, run))
    return Report(
        {"connections": reports},
        window=_window(reports),
        notices=tuple(notice for report in reports for notice in _notices(run, report)),
        problem=problems(reports),
        unfinished=any(report.get("ending") == PAUSED for report in reports),
    )


async def poll_connection(on: Runtime, run: Run, connection: Connection) -> dict[str, Any]:
    """One connection: read its window, store what is missing, move the watermark if the answer was whole.

    The newest records come first, should that window end before them.
    """
    state = run.state.setdefault(connection.id, {})
    if "report" in state:
        return dict(state["report"])
    poll = await _begin(on, run, connection, state)
    ending = COMPLETE if poll.latest is None else await _read(on, run, connection, poll.latest)
    if ending != PAUSED:
        ending = await _read(on, run, connection, poll)
    if ending == PAUSED:
        return {**poll.report(), "ending": PAUSED}
    trusted = ending == COMPLETE and await _trusted(on, connection, poll)
    await _note(on, run, connection, poll, trusted)
    state["report"] = {**poll.report(), "ending": ending, "trusted": trusted, "pages": state["pages"]}
    return dict(state["report"])


async def _begin(on: Runtime, run: Run, connection: Connection, state: dict[str, Any]) -> Poll:
    """The poll that `state` remembers, else the next one, with what the webhook told of its window."""
    if "window" in state:
        return Poll.resumed(state)
    poll = Poll.after(connection.watermark, run.now, state)
    asked = poll.window.bounds() | {"connection_id": connection.id, "tables": list(connection.tables)}
    rows = await on.db.fetch_all("poll_records/load_known", asked)
    poll.expect({row["record_id"]: row["modified_on"] for row in rows})
    return poll


async def _read(on: Runtime, run: Run, connection: Connection, poll: Poll) -> str:
    """Walk through the poll's window from where it stopped; how that ended."""
    return await walk(
        on.pancake,
        connection,
        poll.window.record_filter(),
        poll.state,
        partial(_on_entries, on, run, connection, poll),
        time_left=run.time_left,
        max_pages=MAX_PAGES,
    )


async def _on_entries(
    on: Runtime, run: Run, connection: Connection, poll: Poll, table: str, entries: list[dict[str, Any]]
) -> None:
    """Store what some pages show of the window and we have not stored."""
    items = poll.select(listed(entries, ZoneInfo(connection.zone)))
    if not items:
        return
    columns = partial(delivery_columns, connection.id, table, "poll", run.now)
    asked = coverage.asked_of(items, connection.id)
    stored = await Layer(on.db, columns).store(asked, partial(coverage.missing_of, items))
    new = [item.record_id for item, row in stored if row["status"] != "duplicate"]
    poll.missed(new)
    on.metrics.webhook_missed.labels("poll").inc(len(new))


async def _trusted(on: Runtime, connection: Connection, poll: Poll) -> bool:
    """Whether every record that had to be listed was, or is explained by its present state."""
    suspects = poll.suspects()
    if len(suspects) > MAX_LOOK_UPS:
        return False
    present = await look_up(on.pancake, connection, dict.fromkeys(suspects))
    zone = ZoneInfo(connection.zone)
    return poll.explained_by({i: modified_on(record, zone) for i, record in present.items()})


async def _note(on: Runtime, run: Run, connection: Connection, poll: Poll, trusted: bool) -> None:
    watermark = poll.watermark(connection.watermark, trusted=trusted)
    params = {"connection_id": connection.id, "now": run.now, "watermark": watermark}
    await on.db.fetch_all("poll_records/set_watermark", params)


def _window(reports: list[dict[str, Any]]) -> tuple[datetime | None, datetime | None]:
    """From the earliest start to the latest end of the connections' windows."""
    moments = [datetime.fromisoformat(text) for report in reports for text in report.get("window", ())]
    return min(moments, default=None), max(moments, default=None)


def _notices(run: Run, report: dict[str, Any]) -> list[Notice]:
    """Once a day: a list that is not believed, or a filter that is not heeded."""
    found = [
        ("filter_suspect", report.get("trusted") is False and not report.get("may_lag")),
        ("filter_ignored", report.get("outside", 0) > 0),
    ]
    day, connection = run.now.date().isoformat(), report["connection_id"]
    return [
        Notice(f"{reason}:{connection}:{day}", reason, f"{connection}, {report.get('window')}")
        for reason, applies in found
        if applies
    ]
