"""`leads golive day0` and `watch`: what is looked at, what is kept, and which days are missing."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app
from leads.cli.golive import watching
from leads.cli.golive.criterion import Part
from leads.cli.golive.gates import Evaluation
from leads.cli.golive.records import Kind, Records, Statement
from leads.domain.window import ICT
from sandbox.postgres.server import free_port
from tests.support.golive_sample import sample_evaluation

NOW = datetime.now(UTC)
TODAY = NOW.astimezone(ICT).date()


class Looked:
    """Stands for the evaluation: it notes what is asked; its answer is open, or the closed sample."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Part]]] = []
        self.is_open = True

    def __call__(self, subject: str, parts: Sequence[Part], *_: Any) -> Evaluation:
        self.asked.append((subject, list(parts)))
        found = () if self.is_open else sample_evaluation().judgements
        return Evaluation(subject, NOW, "", found)


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    found = Looked()
    monkeypatch.setattr(watching, "evaluate_parts", found)
    return found


def golive(folder: Path, verb: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["golive", verb, "--records", str(folder), "--json"], env=environment)


def begin(folder: Path, days_ago: int) -> None:
    since = NOW - timedelta(days=days_ago)
    Records(folder).add(Statement(Kind.BEGIN, "W1", "Lan", "lan", NOW, since=since))


def keep(folder: Path, days_ago: int, *, is_open: bool) -> None:
    day = TODAY - timedelta(days=days_ago)
    (folder / f"watch-{day}.json").write_text(json.dumps({"is_open": is_open}))


def test_day_0_looks_at_the_deployment_and_at_the_day(looked: Looked, tmp_path: Path) -> None:
    run = golive(tmp_path, "day0")
    assert (run.exit_code, looked.asked) == (0, [("day 0", [Part.DEPLOY, Part.DAY0])])
    assert json.loads((tmp_path / f"day0-{TODAY}.json").read_text()) == json.loads(run.stdout)


def test_a_later_result_of_a_day_replaces_the_earlier_one(looked: Looked, tmp_path: Path) -> None:
    looked.is_open = False
    assert golive(tmp_path, "watch").exit_code == 1
    looked.is_open = True
    assert golive(tmp_path, "watch").exit_code == 0
    (kept,) = tmp_path.glob("watch-*")
    assert json.loads(kept.read_text())["is_open"]


def test_the_days_count_from_the_beginning_of_w1(looked: Looked, tmp_path: Path) -> None:
    assert "days have a result" not in golive(tmp_path, "watch").stderr
    begin(tmp_path, days_ago=4)
    keep(tmp_path, 3, is_open=True)
    keep(tmp_path, 2, is_open=False)
    keep(tmp_path, 5, is_open=True)  # before the beginning
    said = golive(tmp_path, "watch").stderr
    assert [subject for subject, _ in looked.asked] == ["watch", "day 4"]
    assert "3 of 7 days have a result, on 2 of them all passed." in said
    assert f"Without a result: {TODAY - timedelta(days=1)}." in said


def test_midnight_in_vietnam_divides_the_days() -> None:
    before = datetime(2026, 6, 4, 16, 59, tzinfo=UTC)
    assert [watching._day(before + timedelta(minutes=each)).day for each in (0, 1)] == [4, 5]


@pytest.mark.parametrize("verb", ["day0", "watch"])
def test_without_services_nothing_passes_and_the_result_is_kept(tmp_path: Path, verb: str) -> None:
    closed = f"127.0.0.1:{free_port()}"
    run = golive(
        tmp_path, verb, DATABASE_URL=f"postgresql://x@{closed}/x", HASURA_URL=f"http://{closed}",
        HASURA_ADMIN_SECRET="s" * 32, PROMETHEUS_URL=f"http://{closed}", PUBLIC_URL=f"http://{closed}",
    )  # fmt: skip
    assert run.exit_code == 1
    (kept,) = tmp_path.glob(f"{verb}-*.json")
    assert {each["outcome"] for each in json.loads(kept.read_text())["criteria"]} == {"inconclusive"}
