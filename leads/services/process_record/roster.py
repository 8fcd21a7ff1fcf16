"""Choose the owner of a ticket from a roster, and store the roster's counters.

The roster's lock is the last of all locks that a transaction takes.
"""

from dataclasses import dataclass
from datetime import datetime

from leads.adapters.database import Params, Row, Statement, Transaction
from leads.domain.assign import Choice, Member, Rules, choose


@dataclass(frozen=True, slots=True)
class OwnerRequest:
    """Which ticket an owner is to be chosen for.

    `roster_source_id` is None for the default roster. `account_id` is the customer's, None for a new one.
    `not_again` are the staff ids of those who had the ticket before.
    """

    roster_source_id: str | None
    account_id: str | None
    now: datetime
    not_again: frozenset[str] = frozenset()


async def choose_owner(transaction: Transaction, request: OwnerRequest) -> Choice:
    """Lock the roster and choose from it, in one round trip."""
    roster = {"roster_source_id": request.roster_source_id}
    facts: Params = {**roster, "account_id": request.account_id, "now": request.now}
    _, rows = await transaction.run(
        ("process_record/lock_roster", roster), ("process_record/load_roster", facts)
    )
    return _choose(rows, request.not_again)


def _choose(rows: list[Row], not_again: frozenset[str]) -> Choice:
    if not rows:
        return choose([])
    rules = Rules(rows[0]["former_owner"], not_again, rows[0]["max_tickets_ahead"])
    of_all = ("former_owner", "max_tickets_ahead")
    members = [Member(**{key: value for key, value in row.items() if key not in of_all}) for row in rows]
    return choose(members, rules)


def store_roster_statement(choice: Choice, now: datetime) -> Statement:
    """Return the statement that stores the members whose counters a choice changed."""
    members = choice.changed()
    return (
        "process_record/store_roster",
        {
            "chosen": choice.chosen.assignee_id if choice.chosen else None,
            "assignee_ids": [member.assignee_id for member in members],
            "assigned_counts": [member.assigned_count for member in members],
            "last_assigned_seqs": [member.last_assigned_seq for member in members],
            "was_available": [member.was_available for member in members],
            "now": now,
        },
    )
