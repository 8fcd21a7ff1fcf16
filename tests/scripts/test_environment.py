"""`.env` in the clone: data for operators' commands, never run; set variables take precedence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATING = ("backfill_normalized_phone", "leads")
SHARED = ("_env_file", "_environment", "read_env")
OTHERS = ("bench", "chaos", "demo", "sandbox", "test")
PROGRAM = '#!/bin/sh\necho "database: $DATABASE_URL, key: $ENCRYPTION_KEYS"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the scripts, a `.env`, and programs that print the variables they were started with."""
    scripts = tmp_path / "scripts"
    (scripts / "lock").mkdir(parents=True)
    for name in (*SHARED, *OPERATING, *OTHERS):
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
    write(tmp_path, "DATABASE_URL=from-the-file\nENCRYPTION_KEYS='k:with space'\n")
    return tmp_path


def write(clone: Path, text: str, mode: int = 0o600) -> None:
    """Write `.env`."""
    (clone / ".env").write_bytes(text.encode())
    (clone / ".env").chmod(mode)


def run(clone: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the clone."""
    given = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment}
    command = [str(clone / "scripts" / name), *arguments]
    return subprocess.run(command, env=given, cwd=clone, capture_output=True, text=True, check=False)


def output(clone: Path, name: str, **environment: str) -> str:
    """The output of a script of the clone that succeeds."""
    done = run(clone, name, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def refusal(clone: Path, text: str) -> str:
    """What `leads` says to a `.env` with this text; it must not run anything nor show a value."""
    write(clone, text)
    done = run(clone, "leads")
    assert (done.returncode, done.stdout) == (2, "")
    assert "hidden" not in done.stderr
    assert not (clone / "ran").exists()
    return done.stderr.strip()


def test_an_operators_command_reads_the_file_and_prefers_the_environment(clone: Path) -> None:
    for name in OPERATING:
        assert output(clone, name) == "database: from-the-file, key: k:with space"
        assert output(clone, name, DATABASE_URL="given $1 'x'") == "database: given $1 'x', key: k:with space"
        assert output(clone, name, DATABASE_URL="") == "database: , key: k:with space"
    for name in OTHERS:
        assert output(clone, name) == "database: , key:", name
    (python,) = (clone / ".venv").glob("*/bin/python")
    python.write_text('#!/bin/sh\necho "from the file: $LEADS_ENV_FILE_NAMES"\n')
    assert output(clone, "leads") == "from the file: DATABASE_URL ENCRYPTION_KEYS"
    assert output(clone, "leads", DATABASE_URL="") == "from the file: ENCRYPTION_KEYS"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("DATABASE_URL=", ""),
        ("  DATABASE_URL=a  ", "a"),
        ("DATABASE_URL=a # a comment", "a"),
        ("DATABASE_URL=a#b;c&d|e=f", "a#b;c&d|e=f"),
        ("DATABASE_URL='a # \"$(touch ran)\" `b` \\ ${C}'\t# a comment", 'a # "$(touch ran)" `b` \\ ${C}'),
        ('DATABASE_URL="it\'s # text"', "it's # text"),
        ("DATABASE_URL=Việt", "Việt"),
        ("# a comment\n\n\t# $(touch ran)\nDATABASE_URL=a", "a"),
    ],
)
def test_a_value_is_taken_as_it_is_written(clone: Path, line: str, value: str) -> None:
    write(clone, line)
    assert output(clone, "leads") == f"database: {value}, key:"
    assert not (clone / "ran").exists()


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("expected NAME=value",
         ("touch ran", "export A=hidden", "A =hidden", "9A=hidden", "A[$(touch ran)]=hidden")),
        ("A must be in single quotes",
         ("A=$(touch ran)", "A=`touch ran`", "A=hidden; touch ran", "A=$HOME", 'A="$(touch ran)"',
          'A="hidden\\n"', "A=hidden'quoted'", "A='hidden' more", "A='hidden\nB=c'")),
        ("control character", ("A=hidden\r", "A=hid\x1b[2Kden")),
        ("how programs start", ("PATH=.", "LD_PRELOAD=hidden", "PYTHONPATH=hidden", "BASH_ENV=hidden")),
        ("DATABASE_URL stands in line 1 too", ("DATABASE_URL=hidden",)),
    ],
)  # fmt: skip
def test_any_other_line_is_refused_by_its_number(clone: Path, reason: str, lines: tuple[str, ...]) -> None:
    for line in lines:
        said = refusal(clone, f"DATABASE_URL=a\n{line}\n")
        assert said.startswith(f"{clone}/.env, line 2: "), line
        assert reason in said, line


def test_a_file_that_other_users_can_read_or_change_is_refused(clone: Path) -> None:
    """Also behind a link, whose own mode says nothing."""
    target = clone / "elsewhere"
    (clone / ".env").rename(target)
    (clone / ".env").symlink_to("elsewhere")
    refused = f"{clone}/.env: other users can read or change it. Run: chmod 600 {clone}/.env\n"
    for mode in (0o640, 0o620, 0o604, 0o602, 0o644, 0o666):
        target.chmod(mode)
        done = run(clone, "leads")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", refused), oct(mode)
    target.chmod(0o400)
    assert output(clone, "leads") == "database: from-the-file, key: k:with space"


def test_a_shell_gets_the_variables_from_read_env_or_nothing_of_a_file_that_it_refuses(clone: Path) -> None:
    """Of any file. They replace those that the shell has, so that a changed file can be read again."""
    value = 'a "$(touch ran)" `b` \\ ${C} # Việt'
    write(clone, f"A='{value}'\nB=\"it's\"\nDATABASE_URL=\n")
    (clone / ".env").rename(clone / "other")
    shell = 'eval "$(scripts/read_env other)"; printenv A B DATABASE_URL'
    given = {"PATH": os.environ["PATH"], "DATABASE_URL": "before"}
    for program in ("bash", "sh"):
        done = subprocess.run(
            [program, "-c", shell], env=given, cwd=clone, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{value}\nit's\n\n", "")
    assert not (clone / "ran").exists()
    write(clone, "A=a\ntouch ran\n")
    done = run(clone, "read_env")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{clone}/.env, line 2: ")
    assert run(clone, "read_env", "missing").stderr == "missing: cannot be read\n"
    assert run(clone, "read_env", "--nope").returncode == 2


def test_the_files_of_this_repository_are_accepted(clone: Path) -> None:
    """.env.example as it stands, and the secrets for compose.yaml."""
    secrets = [sys.executable, "-m", "sandbox", "secrets"]
    printed = subprocess.run(secrets, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for text in ((ROOT / ".env.example").read_text("utf-8"), printed):
        write(clone, text)
        done = run(clone, "read_env")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("export ") == len([line for line in text.splitlines() if line[:1].isupper()])
