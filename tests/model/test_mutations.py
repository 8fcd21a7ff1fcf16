"""The random histories notice when a rule of the product is taken away."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from leads.domain.assign import choose
from leads.services.process_record import DeliveryResult, PlannedEvent, load_and_decide
from tests.support.histories.checks import HistoryFailed
from tests.support.histories.product import Product
from tests.support.histories.random_history import run_histories


async def decide_without_notifications(*given: Any) -> PlannedEvent | DeliveryResult:
    planned = await load_and_decide(*given)
    return replace(planned, notifications=[]) if isinstance(planned, PlannedEvent) else planned


MUTATIONS: dict[str, tuple[str, Callable[..., object]]] = {
    "older versions are applied": ("leads.domain.versions.is_older_than_applied", lambda *_: False),
    "unchanged versions are written": ("leads.domain.decide.is_unchanged", lambda *_: False),
    "no phone counts as changed": ("leads.domain.decide.is_phone_changed", lambda *_: False),
    "every phone counts as changed": ("leads.domain.decide.is_phone_changed", lambda *_: True),
    "closed tickets are replaced": ("leads.domain.decide.asks_for_nothing_new", lambda *_: False),
    "no ticket is the customer's": ("leads.domain.decide.ticket_of_customer", lambda *_: None),
    "no account has the phone": ("leads.domain.decide.matching_account", lambda *_: (None, None)),
    "phones are forgotten": ("leads.domain.versions._phones_applied", lambda read, _: read),
    "the last member gets all tickets": (
        "leads.services.process_record.choose",
        lambda members, *_: choose(members[-1:]),
    ),
    "typed texts are overwritten": ("leads.domain.ticket_text.find_block", lambda text, *_: (0, len(text))),
    "typed titles are overwritten": ("leads.domain.ticket_text.is_our_title", lambda *_: True),
    "a request takes the place of the others": ("leads.domain.ticket_text.requests_of", lambda _: {}),
    "a request stays on the ticket that its record left": (
        "leads.services.process_record.content_without_request",
        lambda *_: None,
    ),
    "values that are not changed are written": (
        "leads.services.process_record._changed_text",
        lambda plan, name: plan.lead.text(name),
    ),
    "people are told of every field": ("leads.domain.decide._is_quiet", lambda *_: False),
    "dry runs announce no notifications": (
        "leads.services.replay_events.load_and_decide",
        decide_without_notifications,
    ),
}
HISTORIES = 60
PIECE = 5
"""One in which each missing rule shows early."""


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_random_histories_notice_a_missing_rule(
    product: Product, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MUTATIONS[mutation])
    with pytest.raises(HistoryFailed):
        run_histories(product, PIECE, HISTORIES, shrinks=False)
