"""What a list of leads may ask for: a figure of the report, a period, an owner, a source."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time

from leads.domain.body import ICT
from leads.domain.errors import BadRequest
from leads.domain.fields import fold
from leads.domain.replay import text_in, time_in

FIGURES = (
    "leads", "new_tickets", "joined", "updated", "held", "bad_phone", "no_phone", "other", "held_by_source",
    "held_by_kill_switch", "held_by_connection", "tickets", "later_tickets", "kept", "changed", "by_hand",
    "unassigned", "answered", "unanswered", "closed_unanswered", "missed_by_webhook", "broken",
)  # fmt: skip
"""The figures of the report that count rows, by their names in pancake_report_row: these can be listed."""
MAX_LEADS = 1000


def read_list(given: Mapping[str, object], now: datetime) -> dict[str, object]:
    """Return the parameters of list_leads/list_leads; without a period it is today in Vietnam.

    Raises BadRequest.
    """
    figure, limit = text_in(given, "figure") or "leads", given.get("limit") or MAX_LEADS
    if figure not in FIGURES:
        raise BadRequest(f"figure is not one of {', '.join(FIGURES)}.")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= MAX_LEADS:
        raise BadRequest(f"limit is a number from 1 to {MAX_LEADS}.")
    return {
        "figure": figure,
        "from": time_in(given, "from") or datetime.combine(now.astimezone(ICT).date(), time(), ICT),
        "to": time_in(given, "to") or now,
        "owner": text_in(given, "owner"),
        "source": text_in(given, "source"),
        "limit": limit,
    }


def choose_names(params: Mapping[str, object], rows: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """Return the parameters with the ids of the owners and sources that are meant; rows: list_names."""
    return {**params, **{f"{kind}s": ids_named(kind, params[kind], rows) for kind in ("owner", "source")}}


def ids_named(kind: str, typed: object, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the ids of the owners or sources that a person means by a name or an id; rows: list_names."""
    # PostgreSQL compares names by the locale of the database, which may know no case beyond ASCII.
    name = fold(str(typed or "")) or None
    meant = [row for row in rows if name in (fold(row["name"]), row["id"]) or typed == row["key"]]
    return [row["id"] for row in meant if row["kind"] == kind]
