"""The report of a cron in sentences: what was done, and what a person has to look at. `--json` has all."""

from collections.abc import Iterator, Mapping
from typing import Any

from leads.domain.health import ALIVE, REJECTED, UNAVAILABLE
from ops.checks.wording import times

NOTHING = "There was nothing to do."
COUNTS: Mapping[str, tuple[str, str]] = {
    "failed": ("failed event", "set to received again"),
    "claims": ("expired claim", "set to received again"),
    "dead_letter": ("expired claim", "given up: a dead letter each"),
    "refired": ("event", "given to Hasura again, which had not delivered it"),
    "assigned": ("ticket", "given an owner"),
    "settled_in_diva": ("ticket", "given an owner by people in Diva"),
    "unassigned": ("ticket", "still without an owner"),
    "recalled": ("ticket", "given to another owner, since the first did not answer"),
    "told_of_old_leads": ("owner", "told of the tickets of old leads"),
    "notified": ("event", "whose notifications were accepted now"),
    "runs_notified": ("cron run", "whose notices were accepted now"),
    "late": ("late ticket", "told to the managers"),
    "late_not_notified": ("late ticket", "told to none: no manager is active"),
    "empty_payloads": ("processed event", "emptied"),
    "empty_held": ("finished event", "emptied after the longer time"),
    "empty_replayed": ("event", "emptied that was held first"),
    "empty_leftovers": ("emptied event", "emptied again"),
    "delete_runs": ("cron run", "deleted"),
    "delete_event_logs": ("event log", "deleted in Hasura's tables"),
    "delete_cron_events": ("tick", "deleted in Hasura's tables"),
}
"""What was counted, and what was done with it. A count of 0 is not said."""
PROBES = {
    ALIVE: "its API answers",
    REJECTED: "its API key is rejected",
    UNAVAILABLE: "its API does not answer",
}


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return what a report says, at least NOTHING."""
    counted = [
        f"{times(number, noun)} {done}."
        for key, (noun, done) in COUNTS.items()
        if (number := report.get(key) or 0)
    ]
    found = [*counted, *_problems(report), *map(_connection, report.get("connections", ()))]
    return [*found, *map(_day, report.get("days", ()))] or [NOTHING]


def _problems(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what people are told of, and what failed."""
    if given_up := report.get("given_up"):
        yield f"Notifications were given up: of events {given_up['events']}, of crons {given_up['runs']}."
    lost = [f"{name} {ticks}" for name, ticks in (report.get("lost_ticks") or {}).items() if name != "until"]
    if lost:
        yield f"Hasura gave up ticks: {', '.join(lost)}."
    if unreadable := (report.get("settings") or {}).get("unreadable"):
        yield f"Settings that are not used, since their values are not allowed: {_listed(unreadable)}."
    if report.get("failed_steps"):
        yield f"Steps that failed, and are taken again: {_listed(report['failed_steps'])}."


def _connection(each: Mapping[str, Any]) -> str:
    """Say what was found of a connection by check_connection, sync_sources or poll_records."""
    name = f"connection {each.get('name') or each['connection_id']}"
    if "error" in each:
        return f"{name}: failed: {each.get('detail') or each['error']}"
    if "after" in each:
        was = "" if each["before"] == each["after"] else f", before: {each['before']}"
        missed = (
            f"; polling found {times(each['missed'], 'lead')} without a webhook" if each["missed"] else ""
        )
        return f"{name}: {each['after']}{was}; {PROBES[each['probe']]}{missed}."
    if "window" in each:
        is_short = each.get("trusted") is False
        doubt = "; the list lacks leads that the webhook brought, and is read again" if is_short else ""
        return f"{name}: {times(each['listed'], 'lead')} listed, {each['missed']} of them stored now{doubt}."
    listed = times(each.get("listed", 0), "source")
    changed = [f", {size(each[word])} {word}" for word in ("new", "removed", "restored") if each.get(word)]
    return f"{name}: {listed} listed{''.join(changed)}."


def _day(each: Mapping[str, Any]) -> str:
    """Say how the records of a day compare, by reconcile_daily."""
    name = f"{each.get('day', 'the day')}, connection {each['connection_id']}"
    if "error" in each:
        return f"{name}: failed: {each.get('detail') or each['error']}"
    counted = f"{each.get('expected', 0)} records at Pancake, {each.get('found', 0)} of them stored before"
    left = size(each.get("left_missing"))
    return f"{name}: {counted}, {each.get('inserted', 0)} stored now, {left} left missing."


def size(value: object) -> int:
    """Return the length of a list of an answer, which is a text such as `40 items` if it is long."""
    return int(value.split()[0]) if isinstance(value, str) else len(value) if isinstance(value, list) else 0


def _listed(value: object) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else ""
