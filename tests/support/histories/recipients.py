"""Who is told what, by the specification."""

from tests.support.histories.reference import Decision
from tests.support.histories.state import ANY, NEEDS_ATTENTION, Expected, Ticket, Told

People = frozenset[str]


def _active(decision: Decision, role: str) -> People:
    staff = decision.before.staff.items()
    return frozenset(key for key, person in staff if person.role == role and person.active)


def managers_or_admins(decision: Decision) -> list[People]:
    """Return the groups that may be told in place of an owner."""
    managers, admins = _active(decision, "manager"), _active(decision, "admin")
    return [people for people in (managers, admins, managers | admins) if people]


def owner_or_managers(decision: Decision, ticket: Ticket) -> list[People]:
    owner = decision.before.staff.get(str(ticket.owner))
    if owner is not None and owner.active:
        return [frozenset([str(ticket.owner)])]
    managers = _active(decision, "manager")
    return [managers] if managers else managers_or_admins(decision)


def tell_of_the_future(decision: Decision, expected: Expected) -> None:
    """A time in the far future is told once for each record."""
    if decision.is_far_ahead() and managers_or_admins(decision):
        word = Told(NEEDS_ATTENTION, ANY)
        was_told = decision.record is not None and decision.record.was_far_ahead
        (expected.may_tell if was_told else expected.must_tell).append(word)
