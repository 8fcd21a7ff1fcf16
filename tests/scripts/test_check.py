"""scripts/check runs every check, names those that failed, and never leaves one out silently."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = ("ruff", "lint-imports", "mypy", "squawk", "shellcheck", "yamllint", "hadolint")
FROM_APT = ("luacheck", "docker-compose")
SYSTEM = ("bash", "env", "dirname", "cat", "cksum", "mkdir", "find", "grep")


def program(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in which every tool records that it ran and succeeds, and a PATH with nothing else."""
    (tmp_path / "scripts" / "lock").mkdir(parents=True)
    for name in ("check", "_environment"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    for name in ("scripts/lock/dev.txt", "pyproject.toml", "Dockerfile"):
        (tmp_path / name).write_text("")
    for name in (".ci", "deploy", "sandbox"):
        (tmp_path / name).mkdir()
    venv = tmp_path / ".venv" / "{}.{}".format(*sys.version_info[:2])
    (venv / "bin").mkdir(parents=True)
    for name in (*LOCKED, *FROM_APT):
        program(venv / "bin" / name, f'echo "ran {name}"')
    program(venv / "bin" / "python", "echo SECRET=1")
    program(venv / "bin" / "docker", "exit 1")
    empty = subprocess.run(["cksum"], input="", capture_output=True, text=True, check=True).stdout.strip()
    (venv / "installed").write_text(f"{empty} {venv}\n")
    (venv / "project").write_text(f"{empty} {tmp_path}\n")
    (tmp_path / "system").mkdir()
    for name in SYSTEM:
        (tmp_path / "system" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "bin").symlink_to(venv / "bin")
    return tmp_path


def check(clone: Path, uid: int = 1000, **variables: str) -> subprocess.CompletedProcess[str]:
    program(clone / "bin" / "id", f"echo {uid}")
    environment = {"PATH": str(clone / "system"), "PYTHON": sys.executable, **variables}
    command = [clone / "scripts" / "check"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_every_tool_runs(clone: Path) -> None:
    done = check(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.removeprefix("ran ") for line in done.stdout.splitlines() if line.startswith("ran ")} == {
        *LOCKED,
        *FROM_APT,
    }
    assert done.stdout.endswith("All checks passed.\n")


@pytest.mark.parametrize("name", [*LOCKED, *FROM_APT])
def test_a_check_that_fails_is_named_after_all_have_run(clone: Path, name: str) -> None:
    program(clone / "bin" / name, "exit 1")
    done = check(clone)
    assert done.returncode == 1
    named = {"docker-compose": "compose.yaml"}.get(name, name)
    assert done.stderr.startswith(f"Failed: {named}")
    others = {*LOCKED, *FROM_APT} - {name}
    assert all(f"ran {other}\n" in done.stdout for other in others)


def test_a_tool_from_the_lock_file_is_never_optional(clone: Path) -> None:
    (clone / "bin" / "squawk").unlink()
    done = check(clone)
    assert done.returncode == 1
    assert "Failed: squawk (up), squawk (down)\n" in done.stderr


@pytest.mark.parametrize(
    ("name", "package", "what"),
    [("luacheck", "lua-check", "luacheck"), ("docker-compose", "docker-compose", "compose.yaml")],
)
def test_without_a_tool_from_apt_a_user_reads_what_was_not_checked(
    clone: Path, name: str, package: str, what: str
) -> None:
    (clone / "bin" / name).unlink()
    done = check(clone)
    install = f"{name} is not installed. Install it with: apt-get install {package}\n"
    assert (done.returncode, done.stderr) == (0, f"== {what}: not checked. {install}")
    assert done.stdout.endswith(f"Passed. Not checked: {what}\n")
    for refused in (check(clone, uid=0), check(clone, CI="true")):
        assert (refused.returncode, refused.stderr) == (1, f"{install}Failed: {what}\n")
