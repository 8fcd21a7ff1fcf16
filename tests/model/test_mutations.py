"""The random histories notice when a rule of the product is taken away."""

from collections.abc import Callable

import pytest

from tests.support.histories.checks import HistoryFailed
from tests.support.histories.product import Product
from tests.support.histories.random_history import run_histories

MUTATIONS: dict[str, tuple[str, Callable[..., object]]] = {
    "older versions are applied": ("leads.domain.decide.not_stale_part", lambda lead, *_: lead),
    "unchanged versions are written": ("leads.domain.decide.is_unchanged", lambda *_: False),
    "no phone counts as changed": ("leads.domain.decide.is_phone_changed", lambda *_: False),
    "every phone counts as changed": ("leads.domain.decide.is_phone_changed", lambda *_: True),
    "closed tickets are replaced": ("leads.domain.decide._is_closed", lambda *_: False),
    "typed texts are overwritten": (
        "leads.services.process_record.apply.texts_to_write",
        lambda ticket, texts: texts,
    ),
}
HISTORIES = 60


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_random_histories_notice_a_missing_rule(
    product: Product, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MUTATIONS[mutation])
    with pytest.raises(HistoryFailed):
        run_histories(product, 0, HISTORIES, shrinks=False)
