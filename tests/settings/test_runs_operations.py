"""The stored operations of the fourth Settings tab: cron runs and key figures."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.settings_tab import SettingsHarness


@pytest.fixture(scope="module")
def has_allow_list() -> bool:
    """Every operation here is a stored one, run as on an engine that allows no other."""
    return True


class TestRunsAndKpis:
    """The fourth tab: cron runs and KPIs."""

    async def test_the_runs_of_a_cron_are_listed_with_their_reports(self, harness: SettingsHarness) -> None:
        data = await harness.run("pancake_settings_runs", where={"name": {"_eq": "check_connection"}})
        (run,) = data["pancake_cron_run"]
        assert run["report"]["connections"][0]["after"] == "active"
        assert data["pancake_cron_run_aggregate"]["aggregate"]["count"] == 1

    async def test_the_figures_of_a_day_come_from_the_newest_run(self, harness: SettingsHarness) -> None:
        since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        data = await harness.run("pancake_settings_kpis", since=since)
        assert data["newest"][0]["kpi"] == {"success": {"ratio": 1}}
        counts = {
            name: data[name]["aggregate"]["count"] for name in ("received", "processed", "failed", "held")
        }
        assert counts == {"received": 5, "processed": 0, "failed": 2, "held": 3}
