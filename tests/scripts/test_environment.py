"""`.env`: what operates an installation reads it, and what is set goes before it; nothing else sees it."""

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
    """The commands, a `.env`, and programs that only tell what they see instead of the real ones."""
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
    summed = subprocess.run(["cksum"], input="", capture_output=True, text=True, check=True).stdout.strip()
    (venv / "installed").write_text(f"{summed} {venv}\n")
    (tmp_path / ".env").write_text("DATABASE_URL=from-the-file\nENCRYPTION_KEYS='k:with space'\n")
    return tmp_path


def seen(clone: Path, name: str, **environment: str) -> str:
    """What a command's program says."""
    given = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment}
    command = [clone / "scripts" / name]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", OPERATING)
def test_what_operates_an_installation_reads_the_file(clone: Path, name: str) -> None:
    assert seen(clone, name) == "database: from-the-file, key: k:with space"
    assert seen(clone, name, DATABASE_URL="given $1 'x'") == "database: given $1 'x', key: k:with space"


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_does(clone: Path, name: str) -> None:
    assert seen(clone, name) == "database: , key:"
