"""Sources as the API lists them."""

from typing import Any

from leads.domain.sources import Source, read_sources


def test_sources_are_deduplicated_ordered_and_cleaned() -> None:
    entries: list[dict[str, Any]] = [
        {"id": "24895", "name": " Cộng tác viên\0 ", "parent_id": 50},
        {"id": -1, "name": "Facebook", "is_removed": True},
        {"id": "24895", "name": "Cộng tác viên", "parent_id": None},
        {"id": None, "name": "?"},
        {"id": "(none)", "name": "ours, not theirs"},
        {"name": "no id"},
        {"id": "7", "name": ""},
    ]
    assert read_sources(entries) == [
        Source("-1", "Facebook", None, is_removed=True),
        Source("24895", "Cộng tác viên", None, is_removed=False),
        Source("7", None, None, is_removed=False),
    ]
