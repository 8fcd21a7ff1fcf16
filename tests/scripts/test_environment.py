"""`.env` in the clone: read by operators' commands, not by other scripts; set variables take precedence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATING = ("backfill_normalized_phone", "leads")
OTHERS = ("bench", "chaos", "demo", "sandbox", "test")
PROGRAM = '#!/bin/sh\necho "database: $DATABASE_URL, key: $ENCRYPTION_KEYS"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the scripts, a `.env`, and programs that print the variables they were started with."""
    scripts = tmp_path / "scripts"
    (scripts / "lock").mkdir(parents=True)
    for name in ("_environment", *OPERATING, *OTHERS):
        shutil.copy(ROOT / "scripts" / name, scripts)
    (scripts / "lock" / "dev.txt").write_text("")
    venv = tmp_path / ".venv" / "{}.{}".format(*sys.version_info[:2])
    (venv / "bin").mkdir(parents=True)
    for name in ("python", "pytest", "uvicorn"):
        (venv / "bin" / name).write_text(PROGRAM)
        (venv / "bin" / name).chmod(0o755)
    (tmp_path / "pyproject.toml").write_text("")
    empty = subprocess.run(["cksum"], input="", capture_output=True, text=True, check=True).stdout.strip()
    (venv / "installed").write_text(f"{empty} {venv}\n")
    (venv / "project").write_text(f"{empty} {tmp_path}\n")
    (tmp_path / ".env").write_text("DATABASE_URL=from-the-file\nENCRYPTION_KEYS='k:with space'\n")
    return tmp_path


def output(clone: Path, name: str, **environment: str) -> str:
    """The output of a script of the clone."""
    given = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment}
    command = [clone / "scripts" / name]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", OPERATING)
def test_an_operators_command_reads_the_file_and_prefers_the_environment(clone: Path, name: str) -> None:
    assert output(clone, name) == "database: from-the-file, key: k:with space"
    assert output(clone, name, DATABASE_URL="given $1 'x'") == "database: given $1 'x', key: k:with space"


@pytest.mark.parametrize("name", OTHERS)
def test_other_scripts_do_not_read_the_file(clone: Path, name: str) -> None:
    assert output(clone, name) == "database: , key:"
