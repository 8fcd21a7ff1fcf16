"""The metrics of the handlers are those in the docs."""

import re
from pathlib import Path

from leads.adapters.metrics import Metrics

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_the_documented_series_are_the_series_of_the_handlers() -> None:
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }
    assert set(re.findall(r"^\| `(pancake_\w+)", PAGE, re.MULTILINE)) == families
