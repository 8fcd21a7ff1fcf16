"""Choose the owner of a ticket from a roster, and store the roster's counters.

The roster's lock is the last of all locks that a transaction takes.
"""

from leads.adapters.database import Statement, Transaction
from leads.domain.assign import Choice, Member, choose


async def choose_owner(transaction: Transaction, roster_source_id: str | None) -> Choice:
    """Lock the roster of a source (None: the default roster) and choose from it, in one round trip."""
    roster = {"roster_source_id": roster_source_id}
    _, members = await transaction.run(
        ("process_record/lock_roster", roster), ("process_record/load_roster", roster)
    )
    return choose([Member(**member) for member in members])


def store_roster_statement(choice: Choice) -> Statement:
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
        },
    )
