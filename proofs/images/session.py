"""What a person types at an installation, and what it prints."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sandbox.processes import ROOT

FOLDER = ROOT / "docs"
MAX_SECONDS = 300.0
"""How long the four commands may take a machine."""


@dataclass
class Session:
    """The commands of one way to install, run one after the other by a shell; `prefix`: where."""

    way: str
    prefix: Sequence[str] = ()
    folder: Path = Path()
    environment: Mapping[str, str] | None = None
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Write what happens between two commands."""
        self.lines += ["", f"# {text}"]

    def run(self, command: str, code: int = 0) -> str:
        """Run a command; return what it printed. Raises CalledProcessError for another exit code."""
        started = time.monotonic()
        done = subprocess.run(
            [*self.prefix, "bash", "-c", command], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            check=False,
        )  # fmt: skip
        seconds = time.monotonic() - started
        self.seconds += seconds
        printed = [line.rstrip() for line in done.stdout.splitlines()]
        said = f"# {seconds:.0f} s" + (f", exit code {done.returncode}" if done.returncode else "")
        self.lines += ["", f"$ {command}", *printed, said]
        if done.returncode != code:
            raise subprocess.CalledProcessError(done.returncode, [command], "\n".join(self.lines[-60:]), "")
        return done.stdout

    def write(self) -> Path:
        """Write the session below docs/."""
        path = FOLDER / f"install-{self.way}.txt"
        head = [
            f"# Recorded by `scripts/images --record` on {datetime.now(UTC):%Y-%m-%d}; the addresses",
            f"# are those of a sandbox. The commands took {self.seconds:.0f} s.",
        ]
        path.write_text("\n".join([*head, *self.lines]) + "\n")
        return path
