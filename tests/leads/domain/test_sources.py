"""Sources as the API lists them."""

from leads.domain.sources import source_columns


def test_sources_are_deduplicated_ordered_and_cleaned() -> None:
    entries: list[dict[str, object]] = [
        {"id": "24895", "name": " Cộng tác viên\0 ", "parent_id": 50},
        {"id": -1, "name": "Facebook", "is_removed": True},
        {"id": "24895", "name": "Cộng tác viên", "parent_id": None},
        {"id": None, "name": "?"},
        {"id": "(none)", "name": "ours, not theirs"},
        {"name": "no id"},
        {"id": "7", "name": ""},
    ]
    assert source_columns("c1", entries) == {
        "connection_id": "c1",
        "ids": ["-1", "24895", "7"],
        "names": ["Facebook", "Cộng tác viên", None],
        "parents": [None, None, None],
        "removed": [True, False, False],
    }
