"""The snapshot step: one of this deployment, younger than a day, before anything is changed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leads.cli.golive.deploy import database_steps, running
from leads.cli.golive.deploy.journal import FILE, Journal


class SiteBeforeStep1(SimpleNamespace):
    """A site whose database has nothing of step 1, or all of it."""

    def row(self, name: str, **parameters: object) -> dict[str, Any]:
        assert (name, parameters) == ("golive/check_migration", {"migration": "928"})
        return {"expected": 2, "missing": 0 if self.is_migrated else 2}

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / FILE).read_text().splitlines()]

    def snapshots(self) -> list[datetime]:
        return [datetime.fromisoformat(each["at"]) for each in self.notes() if each["event"] == "snapshot"]

    def age(self, hours: float) -> None:
        """Have the journal be that much older."""
        for note in (notes := self.notes()):
            note["at"] = (datetime.fromisoformat(note["at"]) - timedelta(hours=hours)).isoformat()
        (self.folder / FILE).write_text("".join(json.dumps(note) + "\n" for note in notes))

    def result(self) -> str:
        """Return what `leads golive deploy --until snapshot` makes of the step."""
        (outcome,) = running.deploy(self, until="snapshot")  # type: ignore[arg-type]
        return outcome.result


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteBeforeStep1:
    def dump(url: str, tables: object, path: Path, programs: object) -> None:
        path.write_text(f"rows of {datetime.now(UTC):%H:%M}")

    monkeypatch.setattr(database_steps, "dump_tables", dump)
    held = [f"public.{table}" for table in database_steps.OF_DIVA]
    monkeypatch.setattr(database_steps, "list_dumped_tables", lambda *_: held)
    return SiteBeforeStep1(
        folder=tmp_path, journal=Journal(tmp_path, "Lan", "0123abc"), is_migrated=False,
        settings=SimpleNamespace(database_url=""), choices=SimpleNamespace(programs=None),
    )  # fmt: skip


def test_a_deployment_after_a_rollback_takes_a_snapshot_again(site: SiteBeforeStep1) -> None:
    assert (site.result(), site.result()) == ("done", "was done")
    site.journal.write("undone", "1", text="nothing of it is there")
    assert (site.result(), site.result()) == ("done", "was done")
    first, second = site.snapshots()
    assert first < second


def test_a_snapshot_of_yesterday_is_taken_again_until_step_1_is_done(site: SiteBeforeStep1) -> None:
    assert site.result() == "done"
    site.age(23.9)
    assert site.result() == "was done"
    site.age(0.2)
    assert site.result() == "done"
    assert datetime.now(UTC) - site.snapshots()[-1] < timedelta(minutes=1)


def test_a_snapshot_stays_the_one_from_before_step_1(site: SiteBeforeStep1) -> None:
    """A later dump would hold what the steps changed: an old one is kept, and one of a later step's undo."""
    assert site.result() == "done"
    site.is_migrated = True
    site.journal.write("undone", "14", text="leads are held")
    site.age(48)
    assert site.result() == "was done"
