"""The file of unusable phones of `leads backfill-phones` has an age limit."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leads.cli.backfill_phones.unusable import remove_old_file

NOW = datetime(2026, 5, 14, tzinfo=UTC)


@pytest.mark.parametrize(("days", "is_left"), [(29, True), (31, False)])
def test_an_old_file_is_removed_by_the_next_run(tmp_path: Path, days: int, is_left: bool) -> None:
    path = tmp_path / "unusable.csv"
    path.write_text("account_id,phone_code,phone_number,reason\n")
    written = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (written, written))
    assert remove_old_file(path, NOW) != is_left
    assert path.exists() == is_left
    assert remove_old_file(tmp_path / "none.csv", NOW) is False
