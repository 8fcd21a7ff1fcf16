"""`scripts/bench compare`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sandbox.bench.__main__ import app

MACHINE = {"cpu": "A", "cores": 2, "python": "3.11.7"}


def write(path: Path, *results: object) -> str:
    path.write_text("".join(f"{json.dumps(result)}\n" for result in results))
    return str(path)


def test_medians_and_their_quotient(tmp_path: Path) -> None:
    a = [
        {"machine": MACHINE, "cpu_us": value, "steps": [{"p95": 10}], "only_a": 1}
        for value in (100, 300, 200)
    ]
    b = [{"machine": MACHINE, "cpu_us": 150, "steps": [{"p95": 20}], "seed": 5, "ok": True}]
    ended = CliRunner().invoke(app, ["compare", write(tmp_path / "a", *a), write(tmp_path / "b", *b)])
    assert ended.exit_code == 0
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert "cpu_us 200 (100 to 300) 150 0.75" in lines
    assert "steps.1.p95 10 (10 to 10) 20 2.00" in lines
    assert not any(word in ended.stdout for word in ("only_a", "seed", "ok"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"machine": {**MACHINE, "cores": 4}}), "unlike machines"),
        ("rubbish", "not one JSON object a line"),
        ("", "holds no results"),
        ("[1]", "holds no results"),
        ("{}", "states its machine"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b").write_text(text)
    a = write(tmp_path / "a", {"machine": MACHINE, "x": 1})
    ended = CliRunner().invoke(app, ["compare", a, str(tmp_path / "b")], env={"COLUMNS": "300"})
    assert ended.exit_code == 2
    assert message in ended.output
    missing = CliRunner().invoke(app, ["compare", a, str(tmp_path / "c")], env={"COLUMNS": "300"})
    assert "cannot be read" in missing.output
