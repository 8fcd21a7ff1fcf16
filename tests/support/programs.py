"""Programs that a test runs to their end, and stand-ins for programs."""

import subprocess
from pathlib import Path
from typing import Any

Done = subprocess.CompletedProcess[str]


def run(*command: object, code: int | None = 0, **options: Any) -> Done:
    """Run a program, by default for a minute at most; it has to end with this exit code, if one is given."""
    words = [str(word) for word in command]
    given = {"timeout": 60, **options}
    done = subprocess.run(words, capture_output=True, text=True, check=False, **given)
    assert code in (None, done.returncode), f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def write_program(path: Path, lines: str) -> None:
    """Write a script of sh that stands in for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
