"""`.ci/run` with programs in the place of its scripts: what it runs, and what it says of unpinned images."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("check", "audit", "pin_images", "test", "chaos")
CALLS = [
    "check", "audit", "pin_images --check", "test", "test --engine",
    "chaos edge_outage --seconds 3 --rate 25 --json", "chaos edge_flood --seconds 2 --json",
    "chaos crash_points --sample 8 --json",
]  # fmt: skip


def run(clone: Path, **codes: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run it as a user who may not install packages; return its end and the scripts that it called."""
    for folder in (".ci", "scripts", "bin"):
        (clone / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci")
    programs = {f"scripts/{name}": f"exit {codes.get(name, 0)}" for name in SCRIPTS} | {"bin/id": "echo 1000"}
    for path, line in programs.items():
        record = f'echo "$(basename "$0")" "$@" >>{clone}/called\n' if path.startswith("scripts") else ""
        (clone / path).write_text(f"#!/bin/sh\n{record}{line}\n")
        (clone / path).chmod(0o755)
    done = subprocess.run(
        [clone / ".ci" / "run"], env={"PATH": f"{clone}/bin:/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done, (clone / "called").read_text().splitlines()


def test_pinned_images_are_not_mentioned(tmp_path: Path) -> None:
    done, called = run(tmp_path)
    assert (done.returncode, done.stderr, called) == (0, "", CALLS)


def test_images_without_digests_are_said_and_do_not_fail(tmp_path: Path) -> None:
    done, called = run(tmp_path, pin_images=1)
    assert (done.returncode, called) == (0, CALLS)
    assert done.stderr.startswith("NOT DONE: the images above are not pinned by digest.")


@pytest.mark.parametrize("name", SCRIPTS)
def test_any_other_failure_ends_it(tmp_path: Path, name: str) -> None:
    done, called = run(tmp_path, **{name: 2})
    assert done.returncode == 2
    assert called[-1].split()[0] == name
