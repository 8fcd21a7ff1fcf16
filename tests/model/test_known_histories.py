"""Histories that broke the product once, each as short as it can be."""

from tests.support.histories.history import History


def test_a_first_lead_makes_a_ticket(history: History) -> None:
    history.deliver({"name": "An", "phones": ("0905111001",)}, then="announce")
    history.deliver({"name": "Bình", "phones": ("0905111001",)}, minutes=1)
    history.replay(0, force=True)
