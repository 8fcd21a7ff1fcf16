"""The checks of every step can fail."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.histories.checks import HistoryFailed, second_tickets
from tests.support.histories.history import History
from tests.support.histories.state import Account, State, Ticket

NOW = datetime(2026, 5, 14, tzinfo=UTC)
PHONE = "+84905111001"
TICKET = Ticket("a1", PHONE, None, "new", "ticket_source_pancake", "", "", {}, {}, NOW)


def state(*tickets: Ticket, **accounts: Account) -> State:
    """Return a state with two accounts of one phone, unless others are given."""
    both = {"a1": Account(PHONE, NOW), "a2": Account(PHONE, NOW)}
    return State(both | accounts, tickets={f"t{number}": each for number, each in enumerate(tickets)})


def test_a_second_open_ticket_of_one_phone_is_found_on_any_of_its_accounts() -> None:
    second = replace(TICKET, account="a2", status="in_progress")
    (wrong,) = second_tickets(state(TICKET), state(TICKET, second))
    assert wrong.startswith(f"{PHONE} has 2 open tickets, after 1")


def test_what_is_no_second_ticket_of_the_phone_is_left_alone() -> None:
    second = replace(TICKET, account="a2")
    assert not [*second_tickets(state(), state(TICKET))]
    assert not [*second_tickets(state(TICKET, second), state(TICKET, second))]
    assert not [*second_tickets(state(TICKET), state(TICKET, replace(second, status="done")))]
    assert not [*second_tickets(state(TICKET), state(TICKET, replace(second, is_from_pancake=False)))]
    gone = Account(PHONE, NOW, deleted=True)
    assert not [*second_tickets(state(TICKET, a2=gone), state(TICKET, second, a2=gone))]


def test_a_row_that_was_not_read_again_is_found(history: History) -> None:
    history.deliver({"phones": ("0905111001",)})
    history.people.delete_ticket()
    history.people.open_own_ticket()
    history.check_rows()
    next(iter(history.rows["ticket"].values()))["title"] = "of before"
    with pytest.raises(HistoryFailed, match="step by step"):
        history.check_rows()
