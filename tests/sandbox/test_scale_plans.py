"""What `scripts/bench scale` says of the plans at each size."""

import json
from pathlib import Path

from sandbox.bench.scale_plans import scanned_whole, write_snapshot


def test_a_large_table_that_is_read_whole_is_found() -> None:
    reads = {"kpi/load_response": ["app_setting whole", "ticket whole"], "outbox/x": ["ticket_pkey"]}
    assert scanned_whole(reads) == ["kpi/load_response: ticket"]


def test_a_plan_is_written_once_with_the_sizes_at_which_it_was_chosen(tmp_path: Path) -> None:
    by_size = {"1000": ["ticket whole"], "2000": ["ticket_pkey"], "4000": ["ticket_pkey"]}
    write_snapshot(tmp_path / "plans.json", {"kpi/load_response": by_size})
    assert json.loads((tmp_path / "plans.json").read_text()) == {
        "kpi/load_response": [
            {"events": [1000], "reads": ["ticket whole"]},
            {"events": [2000, 4000], "reads": ["ticket_pkey"]},
        ]
    }
