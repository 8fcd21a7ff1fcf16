"""The results of a history, with the names that it uses, for histories that are written by hand."""

from tests.support.histories.history import History

P1, P2, P3 = "0905111001", "0905111002", "0905111003"


def results(history: History) -> list[tuple[object, str, str]]:
    """Return outcome, account and ticket of each event, with their names in the history."""
    events, name = history.state.events, history.story.name
    return [
        (each.outcome, name(each.account), name(each.ticket))
        for each in (events[key] for key in sorted(events))
    ]


def templates_sent(history: History) -> list[object]:
    """Return the templates of all notifications so far."""
    return [each.template for each in history.product.hasura.received]


def account_of_contact(history: History, phone: str) -> str:
    return history.story.name(history.state.contacts[f"+84{phone[1:]}"].account)
