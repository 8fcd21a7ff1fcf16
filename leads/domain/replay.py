"""A replay: which events, by whom and how; the balance of it; what a dry run would change."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from leads.domain.errors import BadRequest
from leads.domain.facts import Version
from leads.domain.lifecycle import PROCESSED, REPLAYED_BY_MANUAL_INVOCATION
from leads.domain.phone import read_phones
from leads.domain.window import read_moment
from leads.domain.work import Done

REPLAYABLE = REPLAYED_BY_MANUAL_INVOCATION | {PROCESSED}
MAX_REPLAYED = 1000
MAX_REHEARSED = 100
"""Rows of one call; a dry run holds the locks of all its leads at once."""

MAX_FOUND = 100_000
"""Rows that one order looks at; the oldest first."""

_INPUTS = frozenset({"ids", "filter", "corrected_phone", "force", "dry_run"})
_CRITERIA = frozenset({"status", "error_code", "source_id", "from", "to", "limit"})
PARTS = ("account", "contact", "ticket", "consent")


@dataclass(frozen=True, slots=True)
class Order:
    """Which events are to be replayed, by whom (`by`), and how. `ids` excludes the other criteria."""

    by: str
    states: frozenset[str]
    ids: tuple[int, ...] | None = None
    error_code: str | None = None
    source_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    limit: int = MAX_REPLAYED
    corrected_phone: str | None = None
    force: bool = False
    dry_run: bool = False

    def criteria(self) -> dict[str, Any]:
        """Parameters of sql/replay_events/find_rows.sql."""
        given = ("error_code", "source_id", "created_from", "created_to")
        return {name: getattr(self, name) for name in given} | {
            "ids": list(self.ids) if self.ids is not None else None,
            "states": sorted(self.states),
            "corrected": self.corrected_phone is not None,
            "most": MAX_FOUND,
        }

    def params(self, ids: Sequence[int], now: datetime) -> dict[str, Any]:
        """Parameters of sql/replay_events/replay_rows.sql for some of the events."""
        corrected = {"corrected_phone": self.corrected_phone} if self.corrected_phone else {}
        return {
            "ids": list(ids),
            "states": sorted(self.states),
            "by": self.by,
            "now": now,
            "evidence": json.dumps(corrected | ({"force": True} if self.force else {})),
        }

    def locks(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The records and phones of these events, as parameters of lock_records and lock_phones."""
        corrected = {"corrected_phone": self.corrected_phone} if self.corrected_phone else {}
        versions = [Version.of({**row, **corrected}) for row in rows]
        return {
            "record_ids": [version.lead.record_id for version in versions],
            "phones": [phone for version in versions for phone in version.phones.usable],
        }


def read_order(given: Mapping[str, Any], session: Mapping[str, str]) -> Order:
    """The order in an action's input. Raises BadRequest that says what to give instead."""
    _only(given, _INPUTS, "the replay")
    dry_run = _flag(given, "dry_run")
    most = MAX_REHEARSED if dry_run else MAX_REPLAYED
    order: dict[str, Any] = {
        "by": session.get("x-hasura-user-id") or f"role {session.get('x-hasura-role', 'unknown')}",
        "dry_run": dry_run,
        "force": _flag(given, "force"),
        "limit": most,
    }
    ids, criteria, phone = given.get("ids"), given.get("filter"), given.get("corrected_phone")
    if (ids is None) == (criteria is None):
        raise BadRequest("Give either ids or filter.")
    order |= _named(ids, most) if ids is not None else _filtered(criteria, most)
    if phone is not None:
        if ids is None or len(order["ids"]) != 1:
            raise BadRequest("corrected_phone belongs to one event: give exactly one id with it.")
        reading = read_phones([phone] if isinstance(phone, str) else [])
        if reading.primary is None:
            why = ", ".join(reason for _, reason in reading.rejected) or "no phone given"
            raise BadRequest(f"corrected_phone is not a usable phone number ({why}).")
        order["corrected_phone"] = reading.primary
    return Order(**order)


def report(
    order: Order,
    before: Collection[int],
    replayed: Collection[int],
    after: Collection[int],
    refused: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The balance of a replay. `before` and `after` are the ids that the order finds.

    matched = replayed + remaining + changed, and held = remaining + returned + arrived, where `changed` was
    moved by somebody else meanwhile, `returned` was replayed and is back, `arrived` was not there before.
    """
    found, done, now = set(before), set(replayed), set(after)
    return {
        "dry_run": order.dry_run,
        "matched": len(found),
        "replayed": len(done),
        "remaining": len((found - done) & now),
        "changed": len(found - done - now),
        "returned": len(done & now),
        "arrived": len(now - found),
        "held": len(now),
        "refused": list(refused),
        "changes": [],
    }


def change(work: Done, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What carrying a plan out changed: each part that differs, before and after; who is told what."""
    parts = {
        part: {"before": before[part], "after": after[part]} if before[part] != after[part] else None
        for part in PARTS
    }
    roster = [
        {"before": before["roster"][member], "after": row}
        for member, row in after["roster"].items()
        if before["roster"][member] != row
    ]
    owner = after["ticket"]["assignee_id"] if after["ticket"] else None
    return {**parts, "roster": roster, "owner": owner, "notifications": work.intents}


def _named(ids: Any, most: int) -> dict[str, Any]:
    items = ids if isinstance(ids, list) else []
    if not 0 < len(items) <= most:
        raise BadRequest(f"ids is a list of 1 to {most} event ids.")
    if not all(str(item).isascii() and str(item).isdigit() and int(item) < 2**63 for item in items):
        raise BadRequest("ids are whole numbers.")
    return {"ids": tuple(sorted({int(item) for item in items})), "states": REPLAYABLE}


def _filtered(criteria: Any, most: int) -> dict[str, Any]:
    if not isinstance(criteria, Mapping):
        raise BadRequest("filter is not an object.")
    _only(criteria, _CRITERIA, "filter")
    status, limit = criteria.get("status"), criteria.get("limit")
    if not any(criteria.get(name) for name in ("status", "error_code", "source_id")):
        raise BadRequest("filter names neither status, error_code nor source_id.")
    if status is not None and (not isinstance(status, str) or status not in REPLAYABLE):
        raise BadRequest(f"filter.status is not one of {', '.join(sorted(REPLAYABLE))}.")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= most):
        raise BadRequest(f"filter.limit is a number from 1 to {most}.")
    return {
        "states": frozenset({status}) if status else REPLAYED_BY_MANUAL_INVOCATION,
        "error_code": _text(criteria, "error_code"),
        "source_id": _text(criteria, "source_id"),
        "created_from": _time(criteria, "from"),
        "created_to": _time(criteria, "to"),
        "limit": limit or most,
    }


def _only(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadRequest(f"{where} does not know {', '.join(unknown)}.")


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} is neither true nor false.")
    return bool(value)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise BadRequest(f"filter.{name} is not text.")
    return value


def _time(given: Mapping[str, Any], name: str) -> datetime | None:
    value = given.get(name)
    moment = read_moment(value)
    if value is not None and moment is None:
        raise BadRequest(f"filter.{name} is neither a date nor a time of ISO 8601.")
    return moment
