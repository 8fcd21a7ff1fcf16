"""The walk through the steps: random deployments with stops, on steps that are rows of a dictionary.

tests/leads/cli/golive/test_deploy.py stops the real steps. And when the snapshot is taken again.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from leads.cli.golive.deploy import database_steps, running
from leads.cli.golive.deploy.journal import FILE, Journal
from leads.cli.golive.deploy.step import Action, Found, Result, State, Step
from tests.support.fakes import Crash

PARTS = 2
"""Each step has two actions; the step is partial between them."""
STEPS = ("1", "2", "8b", "9a", "10", "12", "14")
BY_HAND = {"12"}
"""No program checks it: done means confirmed."""
WITHOUT_CHECK_OF_UNDO = {"10"}
EVENTS = ("check", "begin", "end", "verify", "confirmed", "undone", "snapshot")


class World:
    """What the steps have done, and how often each was undone since."""

    def __init__(self, folder: Path) -> None:
        self.parts = dict.fromkeys(STEPS, 0)
        self.undos = dict.fromkeys(STEPS, 0)
        self.site: Any = SimpleNamespace(
            journal=Journal(folder, "by", "commit"), db=SimpleNamespace(closed=False)
        )

    def steps(self) -> list[Step]:
        return [
            Step(
                number, f"step {number}", "BE", "1 s", (), (),
                check=partial(self._check, number),
                do=partial(self._do, number), undo=partial(self._undo, number),
                is_confirmed_by_person=number in BY_HAND,
                has_other_undo=number in WITHOUT_CHECK_OF_UNDO, undo_by_hand="do it",
            )
            for number in STEPS
        ]  # fmt: skip

    def _check(self, number: str, site: Any) -> Found:
        if number in BY_HAND:
            is_confirmed = site.journal.confirmation(number) is not None
            return Found(State.DONE if is_confirmed else State.ABSENT, number)
        parts = self.parts[number]
        return Found(State.DONE if parts == PARTS else State.PARTIAL if parts else State.ABSENT, number)

    def _do(self, number: str, site: Any) -> Sequence[Action]:
        missing = 0 if number in BY_HAND else PARTS - self.parts[number]
        return [Action(("do", number), partial(self._act, number, 1))] * missing

    def _undo(self, number: str, site: Any) -> Sequence[Action]:
        if number in WITHOUT_CHECK_OF_UNDO:
            return [Action(("undo", number), partial(self._act, number, 0))]
        return [Action(("undo", number), partial(self._act, number, -1))] * self.parts[number]

    def _act(self, number: str, change: int) -> Result:
        self.parts[number] += change
        self.undos[number] = 0 if change > 0 else self.undos[number] + 1
        return Result(0, "", 0.0)


@contextmanager
def stopping_after(writes: int) -> Iterator[None]:
    """Let the process die at the next writing of the journal after so many; half of it may be there."""
    real = Journal.write
    left = [writes]

    def write(journal: Journal, event: str, step: str, **details: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            with journal.path.open("ab") as file:
                file.write(b'{"at": "2026-')
            raise Crash
        real(journal, event, step, **details)

    with mock.patch.object(Journal, "write", write):
        yield


class Deployments(RuleBasedStateMachine):
    """People deploy, confirm, roll back, and the process dies anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name))
        self.parts_at_snapshot: list[dict[str, int]] = []
        self._patch = mock.patch.multiple(
            running,
            all_steps=self._steps,
            database_steps=lambda: self.world.steps()[:3],
            take_snapshot=lambda *_: Action(("snapshot",), self._snapshot),
            say=lambda _: None,
        )
        self._patch.start()

    def _snapshot(self) -> Result:
        """What is stored after it is lost: by then step 8b, the rights, is undone if it is to be undone."""
        self.parts_at_snapshot.append(dict(self.world.parts))
        return Result(0, "", 0.0)

    def _steps(self) -> list[Step]:
        """The walk back leaves out the first, the snapshot: a step that is always done."""
        snapshot = Step("snapshot", "", "", "", (), (), lambda _: Found(State.DONE, ""))
        return [snapshot, *self.world.steps()]

    def teardown(self) -> None:
        self._patch.stop()
        self._folder.cleanup()

    @rule(writes=st.integers(0, 60), is_confirmed=st.booleans())
    def deploy(self, writes: int, is_confirmed: bool) -> None:
        try:
            with stopping_after(writes):
                if is_confirmed:
                    self.world.site.journal.write("confirmed", "12")
                outcomes = running.deploy(self.world.site)
        except Crash:
            return
        last = outcomes[-1]
        assert last.result in ("done", "was done", "waiting")
        done = [each.step.id for each in outcomes if not each.stops]
        assert all(
            self.world.parts[number] == PARTS for number in done if number in STEPS and number not in BY_HAND
        )
        assert last.step.id == ("12" if last.stops else "14")

    @rule(writes=st.integers(0, 60), to=st.sampled_from(STEPS), is_confirmed=st.booleans())
    def roll_back(self, writes: int, to: str, is_confirmed: bool) -> None:
        try:
            with stopping_after(writes):
                outcomes = running.roll_back(self.world.site, to, ["12"] if is_confirmed else [])
        except Crash:
            return
        undone = {each.step.id for each in outcomes if not each.stops}
        checked = undone - BY_HAND - WITHOUT_CHECK_OF_UNDO
        assert all(self.world.parts[number] == 0 for number in checked)
        if not outcomes[-1].stops:
            assert undone == set(STEPS[STEPS.index(to) :])

    @invariant()
    def the_journal_can_be_read(self) -> None:
        for entry in self.world.site.journal.entries():
            assert entry["event"] in EVENTS

    @invariant()
    def no_part_is_done_twice_or_undone_below_nothing(self) -> None:
        assert all(0 <= parts <= PARTS for parts in self.world.parts.values())


Deployments.TestCase.settings = settings(max_examples=25, stateful_step_count=10, deadline=None)
TestDeployments = Deployments.TestCase


@pytest.fixture
def machine() -> Iterator[Deployments]:
    found = Deployments()
    yield found
    found.teardown()


def test_an_undo_that_no_check_sees_runs_once(machine: Deployments) -> None:
    """`kubectl rollout undo`, run twice, would bring the new version back."""
    machine.deploy(99, True)
    machine.roll_back(99, "10", True)
    machine.roll_back(99, "10", True)
    assert machine.world.undos["10"] == 1
    machine.world.parts["10"] = 1
    machine.deploy(99, True)
    machine.roll_back(99, "10", True)
    assert machine.world.undos["10"] == 1


def test_the_dump_of_a_rollback_is_taken_when_no_lead_can_be_stored_any_more(machine: Deployments) -> None:
    """The rights are gone, the tables are not: a lead that is stored after the dump would be lost."""
    machine.deploy(99, True)
    machine.roll_back(99, "1", True)
    (parts,) = machine.parts_at_snapshot
    assert (parts["9a"], parts["8b"], parts["1"], parts["2"]) == (0, 0, PARTS, PARTS)


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
