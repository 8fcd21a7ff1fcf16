"""Random histories of leads, people's edits and replays end as the reference model says.

A piece is a seed, so it repeats. HISTORY_PIECES chooses the pieces: 7 or 0-99.
"""

import os

import pytest

from tests.support.histories.product import Product
from tests.support.histories.random_history import STEPS, run_histories
from tests.support.suites import IS_FULL

HISTORIES_PER_PIECE = 240 if IS_FULL else 60
STEPS_PER_PIECE = 10_000 if IS_FULL else 2_500
"""At least: a history ends early if no step is possible."""


def chosen_pieces() -> range:
    first, _, last = os.environ.get("HISTORY_PIECES", "0-9" if IS_FULL else "0").partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("piece", chosen_pieces())
def test_random_histories_end_as_the_reference_model_says(
    product: Product, piece: int, request: pytest.FixtureRequest
) -> None:
    steps = run_histories(product, piece, HISTORIES_PER_PIECE)
    request.node.add_report_section("call", STEPS, str(steps))
    assert steps >= STEPS_PER_PIECE
