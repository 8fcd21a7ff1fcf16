"""Compare what a dry run announced with what processing then changed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.histories.product import Row, Rows, Sent, row_key

Change = dict[str, Any]
"""A row `before` and `after`, each None if there is none."""

PARTS = {
    "account": "account",
    "contact": "contact_book",
    "ticket": "ticket",
    "consent": "customer_consent",
    "roster": "pancake_assignee",
}
"""The table of each part of an announcement."""

NOT_ANNOUNCED = frozenset({"created_at", "updated_at", "code"})
"""Columns that an announcement leaves out."""


def wrong_result(announced: dict[str, Any], result: str, event: int, after: Rows) -> Iterator[str]:
    """Yield where the announced result or error differs from the real one."""
    if announced["result"] != result:
        yield f"the dry run announced {announced['result']}, the result is {result}"
    row = after["pancake_webhook_event"][event]
    if "error_code" in announced and row["error_code"] != announced["error_code"]:
        yield f"the dry run announced {announced['error_code']}, the event has {row['error_code']}"


def wrong_notifications(announced: dict[str, Any], attempts: Sequence[Sent]) -> Iterator[str]:
    """Yield where the announced notifications differ from those that were sent; their order is open."""
    promised = sorted(
        (each["template_code"], sorted(each["recipient_ids"])) for each in announced.get("notifications", ())
    )
    sent = sorted((each.template, sorted(each.recipients)) for each in attempts)
    if promised != sent:
        yield f"the dry run announced the notifications {promised}, sent were {sent}"


def wrong_changes(announced: dict[str, Any], before: Rows, after: Rows) -> Iterator[str]:
    """Yield where the announced changes differ from the real ones; the owner is a column of the ticket."""
    changes = {part: announced_changes(announced.get(part)) for part in PARTS}
    changes["contact"] += announced.get("other_contacts", [])
    changes["ticket"] += announced_changes(announced.get("left_ticket"))
    text = json.dumps(changes)
    for part, table in PARTS.items():
        for made_up, real in _ids(changes[part], table, before, after):
            text = text.replace(made_up, real)
    for part, rows in json.loads(text).items():
        yield from _compare(part, rows, real_changes(PARTS[part], before, after))


def announced_changes(part: Any) -> list[Change]:
    """Return the changes of a part: none, one, or a list."""
    if isinstance(part, list):
        return part
    return [part] if part else []


def real_changes(table: str, before: Rows, after: Rows) -> list[Change]:
    olds, news = before[table], after[table]
    pairs = [
        {"before": olds.get(key), "after": news.get(key)}
        for key in {**olds, **news}
        if olds.get(key) is not news.get(key)
    ]
    return [pair for pair in pairs if _announceable(pair["before"]) != _announceable(pair["after"])]


def _ids(changes: list[Change], table: str, before: Rows, after: Rows) -> Iterator[tuple[str, str]]:
    """Yield the id that the dry run made up for each new row, and the real one."""
    new = [change["after"] for change in real_changes(table, before, after) if change["before"] is None]
    for change in changes:
        if change["before"] is None and change["after"]:
            phone = change["after"].get("primary_phone")
            real = next((row for row in new if phone in (None, row.get("primary_phone"))), None)
            if real and "id" in real:
                yield change["after"]["id"], real["id"]


def _compare(part: str, announced: list[Change], real: list[Change]) -> Iterator[str]:
    left = {row_key(change["after"] or change["before"]): change for change in real}
    for change in announced:
        found = left.pop(row_key(change["after"] or change["before"]), None)
        if found is None:
            yield f"{part}: announced, but not made: {change}"
            continue
        for when in ("before", "after"):
            wanted, row = change[when], found[when]
            differing = sorted(key for key in wanted or {} if not row or row[key] != wanted[key])
            if differing or (wanted is None) != (row is None):
                yield f"{part} {when}: announced {wanted}, found {row}; they differ in {differing}"
        unannounced = _differing(found) - set(change["after"] or change["before"] or {})
        if unannounced:
            yield f"{part}: {sorted(unannounced)} changed, which the dry run does not show"
    for change in left.values():
        yield f"{part}: changed without an announcement: {change}"


def _differing(change: Change) -> set[str]:
    if not change["before"] or not change["after"]:
        return set()
    before, after = _announceable(change["before"]), _announceable(change["after"])
    return {key for key in after if before[key] != after[key]}


def _announceable(row: Row | None) -> Row:
    return {key: value for key, value in (row or {}).items() if key not in NOT_ANNOUNCED}
