"""Which commit runs, for the journal and for results that are handed in as evidence."""

import subprocess
from pathlib import Path

from ops.settings import read_variable

CLONE = Path(__file__).resolve().parents[2]
MIGRATIONS_FOLDER = CLONE / "hasura" / "migrations" / "default"


def installed_commit() -> str:
    """Return the commit of what runs: COMMIT of the image or package, else of the clone, else nothing."""
    return read_variable("COMMIT") or _commit_of_clone()


def commit_origin() -> str:
    """Say where the commit is from: `image` (or package), `clone`, or nothing."""
    return "image" if read_variable("COMMIT") else "clone" if _commit_of_clone() else ""


def _commit_of_clone() -> str:
    """Return the commit; if files differ, `modified` goes first: such results are no evidence."""
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
