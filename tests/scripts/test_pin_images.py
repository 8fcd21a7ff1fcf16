"""`scripts/pin_images` with a program in the place of docker: no registry is asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("compose.yaml", "Dockerfile", "deploy/nginx/Dockerfile")
DIGEST = "sha256:" + "ab" * 32
IMAGES = 8


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in (*FILES, "scripts/pin_images"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(clone: Path, *arguments: str, docker: str = "exit 1") -> subprocess.CompletedProcess[str]:
    program = clone / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    command = [str(clone / "scripts" / "pin_images"), *arguments]
    path = {"PATH": f"{program.parent}:/usr/bin:/bin"}
    return subprocess.run(command, env=path, capture_output=True, text=True, check=False, timeout=30)


def test_every_image_gets_its_digest_in_its_place_and_a_newer_one_replaces_it(clone: Path) -> None:
    before = {name: (clone / name).read_text() for name in FILES}
    assert run(clone, "--check").returncode == 1
    done = run(clone, docker=f"echo {DIGEST}")
    assert (done.returncode, len(done.stdout.split())) == (0, IMAGES), done.stderr
    assert {name: (clone / name).read_text().replace(f"@{DIGEST}", "") for name in FILES} == before
    assert run(clone, "--check").returncode == 0
    newer = DIGEST.replace("ab", "cd")
    assert run(clone, docker=f"echo {newer}").returncode == 0
    text = "".join((clone / name).read_text() for name in FILES)
    assert (text.count(newer), text.count(DIGEST)) == (IMAGES, 0)


@pytest.mark.parametrize("docker", ["exit 1", "echo not-a-digest", "echo 'sha256:00; rm -rf /'"])
def test_without_an_answer_nothing_changes(clone: Path, docker: str) -> None:
    before = {name: (clone / name).read_text() for name in FILES}
    done = run(clone, docker=docker)
    assert done.returncode == 3
    assert "The registry gave no digest of postgres:" in done.stderr
    assert {name: (clone / name).read_text() for name in FILES} == before


def test_another_argument_is_refused(clone: Path) -> None:
    assert run(clone, "--now").returncode == 2
