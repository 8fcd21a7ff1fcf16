"""What the retry cron does to tickets without an owner, by the specification."""

from tests.support.histories.state import NEW_LEAD, Expected, OneOf, State, Told


def retry_results(before: State) -> list[Expected]:
    """Every open ticket from Pancake that stayed unassigned gets an available member of the roster."""
    state = before.copied()
    available = [key for key, staff in before.staff.items() if staff.is_available]
    waiting = [
        ticket
        for ticket in state.tickets.values()
        if ticket.is_from_pancake and ticket.is_open and ticket.owner is None
    ]
    expected = Expected("unassigned tickets get an owner", state, None)
    if not available:
        return [expected]
    for ticket in waiting:
        ticket.owner = OneOf(*available)
        expected.must_tell.append(Told(NEW_LEAD, OneOf(*(frozenset([key]) for key in available))))
    return [expected]
