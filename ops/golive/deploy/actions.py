"""The kinds of actions: a file of SQL, a verb of leads, a program of the installation, a dump."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.clients.db_session import DatabaseError, DbSession
from ops.failures import ExitCode
from ops.golive.deploy.step import Action, Result
from ops.output import say

MAX_SECONDS = 4 * 3600.0
"""Longer than the night's window of the backfill; a hanging program ends then."""
STOP_SECONDS = 10.0


def verb(*words: str) -> Action:
    """Run a verb of this leads."""
    return Action(("leads", *words), lambda: _run([sys.executable, "-m", "ops", *words]))


def program(command: tuple[str, ...]) -> Action:
    """Run a program that golive.yaml names."""
    return Action(command, lambda: _run(list(command)))


def sql_file(session: DbSession, path: Path, shown: str) -> Action:
    """Execute a file of SQL in one transaction, as `psql -1 -f` does."""

    def run() -> Result:
        started = time.monotonic()
        output = ""
        try:
            with session.transaction():
                session.execute(path.read_bytes())
        except DatabaseError as error:
            # Only the first line: DETAIL quotes the values of the row.
            output = (str(error).splitlines() or [type(error).__name__])[0].strip()
            say(f"  {output}")
        code = ExitCode.FAILED if output else ExitCode.OK
        return Result(code, _digest(output.encode()), round(time.monotonic() - started, 3))

    return Action(("execute", shown), run)


def function(argv: tuple[str, ...], work: Callable[[], str]) -> Action:
    """Call a function of leads; what it returns is its output. It raises what a verb may raise."""

    def run() -> Result:
        started = time.monotonic()
        output = work()
        say(f"  {output}")
        return Result(ExitCode.OK, _digest(output.encode()), round(time.monotonic() - started, 3))

    return Action(argv, run)


def _run(argv: list[str]) -> Result:
    """Run a program without a shell; its output is shown, and its digest kept."""
    started = time.monotonic()
    digest = hashlib.sha256()
    try:
        with _running(argv) as process:
            assert process.stdout is not None
            for line in process.stdout:
                digest.update(line)
                say("  " + line.decode(errors="replace").rstrip("\n"))
                if time.monotonic() - started > MAX_SECONDS:
                    raise TimeoutError
            code = process.wait(MAX_SECONDS)
    except (OSError, TimeoutError, subprocess.TimeoutExpired) as error:
        say(f"  {argv[0]} did not run to its end: {type(error).__name__}")
        code = ExitCode.UNREACHABLE
    return Result(code, digest.hexdigest(), round(time.monotonic() - started, 3))


@contextmanager
def _running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it if the block is left before it has ended.

    The lock of the deployment stays open in it (close_fds=False): a program that outlives leads keeps the
    next deployment from beginning.
    """
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=False
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _digest(output: bytes) -> str:
    return hashlib.sha256(output).hexdigest()
