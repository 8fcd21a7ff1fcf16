"""What the retry cron does to tickets without an owner, by the specification."""

from tests.support.histories.memory import Memory
from tests.support.histories.open_values import OneOf
from tests.support.histories.state import NEEDS_ATTENTION, NEW_LEAD, Expected, Notice, State


def retry_result(memory: Memory, before: State) -> Expected:
    """Every open ticket that stayed unassigned gets an available member of its roster.

    A ticket that a person assigned, closed or deleted is left to people from then on. So is a ticket whose
    event a person made name another. The administrators are told once of several that get an owner.
    """
    state = before.copied()
    expected = Expected("unassigned tickets get an owner", state, None)
    for key, version in list(memory.unassigned.items()):
        ticket, event = state.tickets.get(key), before.events[version.event]
        if ticket is None or ticket.owner is not None or not ticket.is_open or event.ticket != key:
            del memory.unassigned[key]
        elif available := before.available(before.roster_of(version)):
            del memory.unassigned[key]
            ticket.owner = OneOf(*available)
            expected.notices.append(Notice(NEW_LEAD, OneOf(*(frozenset([each]) for each in available))))
    staff = before.staff.items()
    admins = frozenset(key for key, each in staff if each.role == "admin" and each.active)
    if len(expected.notices) > 1 and admins:
        expected.notices.append(Notice(NEEDS_ATTENTION, admins))
    return expected
