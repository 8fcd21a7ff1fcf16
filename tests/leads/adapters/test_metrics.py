"""The series of the handlers are those that the docs explain."""

import re
from pathlib import Path

from leads.adapters.metrics import Metrics

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_every_series_is_explained_and_no_other() -> None:
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }
    assert set(re.findall(r"^\| `(pancake_\w+)", PAGE, re.MULTILINE)) == families
