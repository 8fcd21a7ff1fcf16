"""A compressed pilot in a seeded database, with a genuine Prometheus where one is installed."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox.incidents.prometheus import missing_monitoring
from tests.support.golive_pilot import Pilot
from tests.support.golive_prometheus import fake_prometheus
from tests.support.golive_series import genuine_prometheus
from tests.support.golive_waves import check_later_changes, open_waves

SOURCES = {"W1": 1, "W2": 5, "W3": 15, "W4": 41}


@pytest.fixture
def prometheus_url(tmp_path: Path) -> Iterator[str]:
    if missing_monitoring():
        with fake_prometheus() as running:
            yield running.url
    else:
        folder = tmp_path / "prometheus"
        folder.mkdir()
        with genuine_prometheus(folder, timedelta(days=8)) as url:
            yield url


def test_four_waves_are_opened_by_their_people_one_after_the_other(
    database: str, tmp_path: Path, prometheus_url: str
) -> None:
    pilot = Pilot(database, tmp_path / "records", prometheus_url)
    pilot.seed()
    open_waves(pilot, tmp_path, SOURCES)
    check_later_changes(pilot, tmp_path)
