"""The metrics of the handlers are those in the docs."""

import re
from pathlib import Path

from leads.adapters.metrics import Metrics

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text("utf-8")


def test_the_documented_series_are_the_series_of_the_handlers() -> None:
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
        if not family.name.startswith("process_")
    }
    assert set(re.findall(r"^\| `(pancake_\w+)", PAGE, re.MULTILINE)) == families


def test_memory_and_cpu_of_the_process_are_shown() -> None:
    """The gate of the third wave reads the memory of each pod."""
    registry = Metrics().registry
    memory = registry.get_sample_value("process_resident_memory_bytes")
    cpu = registry.get_sample_value("process_cpu_seconds_total")
    assert memory is not None
    assert 10 * 2**20 < memory < 4 * 2**30
    assert cpu is not None
    assert cpu > 0
