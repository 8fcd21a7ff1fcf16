"""The notices of an event and their recipients, by the specification."""

from tests.support.histories.open_values import ANY, OneOf
from tests.support.histories.reference import Decision
from tests.support.histories.state import NEEDS_ATTENTION, Expected, Notice, Ticket

People = frozenset[str]


def _active(decision: Decision, role: str) -> People:
    staff = decision.before.staff.items()
    return frozenset(key for key, person in staff if person.role == role and person.active)


def active_admins(decision: Decision) -> People:
    return _active(decision, "admin")


def owner_or_managers(decision: Decision, ticket: Ticket) -> People:
    """Return the owner if active, else the managers, else the administrators; empty if no one is active."""
    owner = decision.before.staff.get(str(ticket.owner))
    if owner is not None and owner.active:
        return frozenset([str(ticket.owner)])
    return _active(decision, "manager") or active_admins(decision)


def tell_attention(decision: Decision, expected: Expected, owner: object) -> None:
    """Notify the administrators and the ticket's active owner; a ticket's new owner is always active."""
    staff = decision.before.staff.get(str(owner))
    if active_admins(decision) or isinstance(owner, OneOf) or (staff is not None and staff.active):
        expected.notices.append(Notice(NEEDS_ATTENTION, ANY))


def tell_of_the_future(decision: Decision, expected: Expected, owner: object = None) -> None:
    """Notify of a time in the far future once for each record."""
    was_notified = decision.record is not None and decision.record.was_far_ahead
    if decision.is_far_ahead() and not was_notified:
        tell_attention(decision, expected, owner)
