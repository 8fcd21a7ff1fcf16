"""What a dry run would change, as blocks for people: names in place of ids, no marks of the program."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ops.output import ChangeBlock, changed_fields

Names = Mapping[str, str]
"""Names of staff and of the customers in the report, by their ids."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TITLES = {"account": "display_name", "contact": "primary_phone", "ticket": "", "consent": ""}
"""The parts of an event, each with the column that names its row."""

_ID = "id"
_WRITTEN = "data.pancake.written."
"""Digests by which the program knows what it wrote."""


def staff_ids(changes: list[dict[str, Any]]) -> set[str]:
    """Return the ids of the staff that a dry run mentions: owners, members of rosters, recipients."""
    ids: set[str] = set()
    for item in changes:
        ids |= {member["after"]["staff_id"] for member in item.get("roster", ())}
        ids |= {id_ for each in item.get("notifications") or () for id_ in each.get("recipient_ids", ())}
        tickets = item.get("ticket") or {}
        ids |= {row["assignee_id"] for row in tickets.values() if row and row.get("assignee_id")}
        ids |= {item["owner"]} if item.get("owner") else set()
    return ids


def change_blocks(item: Mapping[str, Any], staff: Names) -> Iterator[ChangeBlock]:
    """Return the blocks of one event of a dry run. `staff` are names by ids."""
    names = {**_customers(item), **staff}
    for part, column in _TITLES.items():
        if change := item.get(part):
            yield _row_block(part, column, change, names)
    for change in item.get("other_contacts", ()):
        yield _row_block("other contact", "primary_phone", change, names)
    if roster := item.get("roster"):
        yield ChangeBlock("roster", [_member(member, names) for member in roster])
    people = [("owner", None, _named(item["owner"], names))] if item.get("owner") else []
    people += [("would notify", None, _told(each, names)) for each in item.get("notifications") or ()]
    if people:
        yield ChangeBlock("people", people)


def _customers(item: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands for the ids of accounts and contacts in this event."""
    names: dict[str, str] = {}
    for part in ("account", "contact"):
        for row in (item.get(part) or {}).values():
            if row and row.get(_ID) and row.get(_TITLES[part]):
                names[row[_ID]] = row[_TITLES[part]]
    return names


def _row_block(part: str, column: str, change: Mapping[str, Any], names: Names) -> ChangeBlock:
    """Return the block of a row; of a new one the values that its title does not show."""
    before, after = change["before"], change["after"]
    named = after.get(column)
    title = f"{part} {named}" if named else part
    if before is not None:
        changes = [
            (_label(name), _named(old or "", names), _named(new, names))
            for name, old, new in changed_fields(before, after)
            if not name.startswith(_WRITTEN)
        ]
        return ChangeBlock(title, changes)
    values = [
        (_label(name), None, _named(value, names))
        for name, _, value in changed_fields({}, after)
        if name not in (_ID, column) and not isinstance(after[name], Mapping)
    ]
    return ChangeBlock(f"{title}: new", values)


def _member(member: Mapping[str, Any], names: Names) -> tuple[str, str | None, str]:
    """Return a member of a roster with the counters that change."""
    after = member["after"]
    fields = changed_fields(member["before"] or {}, after)
    text = ", ".join(f"{name} {old} → {new}" for name, old, new in fields)
    return _named(after["staff_id"], names), None, text


def _told(notification: Mapping[str, Any], names: Names) -> str:
    recipients = ", ".join(_named(each, names) for each in notification.get("recipient_ids", ()))
    return f"{recipients}: {notification['name']}" if recipients else str(notification["name"])


def _label(path: str) -> str:
    """Return the name of a field; one that holds the id of a row is called like the row."""
    field = path.removeprefix("data.pancake.").removeprefix("pancake_metadata.")
    return field.removesuffix("_book_id").removesuffix("_id")


def _named(value: str, names: Names) -> str:
    """Return the name in place of an id; of an id without a known name its first characters."""
    if value in names:
        return names[value]
    return f"{value[:8]}…" if _UUID.fullmatch(value) else value
