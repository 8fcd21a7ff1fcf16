"""Which commit runs, for the journal and for results that are handed in as evidence."""

import subprocess
from pathlib import Path

from ops.settings import read_variable

CLONE = Path(__file__).resolve().parents[2]
MIGRATIONS_FOLDER = CLONE / "hasura" / "migrations" / "default"


def installed_commit() -> str:
    """Return the commit of what is installed: COMMIT of the image, else that of the clone, else nothing."""
    return read_variable("COMMIT") or _commit_of_clone()


def commit_of_run() -> str:
    """Return the commit of a test run: that of the clone; COMMIT only outside a clone.

    With files that differ from it the word `modified` goes first: such a result is no evidence.
    """
    return _commit_of_clone() or read_variable("COMMIT")


def _commit_of_clone() -> str:
    try:
        commit = _git("rev-parse", "HEAD")
        return f"modified {commit}" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=CLONE, capture_output=True, text=True, check=True, timeout=10.0
    )
    return done.stdout.strip()
