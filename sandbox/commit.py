"""Which commit of the clone a run is of, for results that are handed in as evidence."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit_of_clone() -> str:
    """Return the commit, with `modified` before it if files differ from it; COMMIT outside a clone."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"modified {commit}" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COMMIT", "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
