"""`leads edge-spool` on entries that the edge did not write: it waits for none and shows none."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app

NAME = "0000000000001-ab-1.sealed"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_large(path: Path) -> None:
    path.touch()
    os.truncate(path, 1_000_000_000_000)


@pytest.mark.parametrize("make", [make_pipe, make_link, Path.mkdir, make_large])
@pytest.mark.parametrize("arguments", [["list"], ["show", NAME], ["release", NAME], ["release", "--all"]])
def test_a_foreign_entry_is_unreadable(tmp_path: Path, make: object, arguments: list[str]) -> None:
    for folder in ("spool", "unknown", "quarantine"):
        (tmp_path / folder).mkdir()
    assert callable(make)
    make(tmp_path / "quarantine" / NAME)
    environment = {"EDGE_STATE_DIR": str(tmp_path), "EDGE_STATE_KEYS": "k1:" + "A" * 43 + "="}
    result = CliRunner().invoke(app, ["edge-spool", *arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "not a sealed delivery" in result.output
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize("name", ["x.sealed", "9" * 15 + "-a.sealed", "9" * 40 + "-a.sealed", NAME])
def test_a_foreign_entry_does_not_keep_others_from_being_removed(tmp_path: Path, name: str) -> None:
    quarantine = tmp_path / "quarantine"
    (quarantine / name).mkdir(parents=True)
    old = [quarantine / "0000000000000-ab-1.sealed", quarantine / "0000000000002-ab-1.sealed"]
    for path in old:
        path.touch()
    result = CliRunner().invoke(app, ["edge-spool", "purge"], env={"EDGE_STATE_DIR": str(tmp_path)})
    assert (result.exit_code, name in result.stderr) == (1, True)
    assert not any(path.exists() for path in old)
    assert (quarantine / name).exists()


@pytest.mark.parametrize("name", ["../policy.sealed", "../../outside.sealed", "/etc/passwd", "..", "."])
@pytest.mark.parametrize("verb", ["show", "release"])
def test_a_name_does_not_leave_the_folder(tmp_path: Path, verb: str, name: str) -> None:
    state = tmp_path / "state"
    for folder in ("spool", "unknown", "quarantine"):
        (state / folder).mkdir(parents=True)
    (tmp_path / "outside.sealed").write_text("outside")
    (state / "policy.sealed").write_text("policy")
    environment = {"EDGE_STATE_DIR": str(state), "EDGE_STATE_KEYS": "k1:" + "A" * 43 + "="}
    result = CliRunner().invoke(app, ["edge-spool", verb, name], env=environment)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert (tmp_path / "outside.sealed").exists()
    assert (state / "policy.sealed").exists()
