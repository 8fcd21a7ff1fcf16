"""Whose a table is that the engine tracks already, and of which there is no record that we applied it."""

from typing import Any

import pytest

from leads.cli.metadata.ownership import foreign


@pytest.mark.parametrize(
    ("table", "is_foreign"),
    [
        ("pancake_source", False),
        ("view_pancake_setting", False),
        ("integration_change", False),
        ("ticket", True),
    ],
)
def test_only_tables_of_the_integration_may_be_tracked_in_another_way(table: str, is_foreign: bool) -> None:
    key = ("table", f"public.{table}")
    wanted: dict[str, Any] = {"table": {"name": table, "schema": "public"}}
    held = wanted | {"configuration": {"custom_name": "other"}}
    assert bool(foreign({key: wanted}, {key: held}, {})) is is_foreign
