"""The list of behaviours names only tests that exist."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_every_test_that_the_contract_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (PROJECT / "CONTRACT.md").read_text()))
    written = {
        name
        for path in (PROJECT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 60
    assert named <= written, named - written
