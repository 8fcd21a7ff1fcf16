"""A step of the deployment: what checks it, does it and undoes it; and the kinds of its actions."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from ops.failures import ExitCode
from ops.files import digest_of
from ops.golive.deploy.site import Site
from ops.output import say

MAX_SECONDS = 4 * 3600.0
"""Longer than the night's window of the backfill; a hanging program ends then."""
STOP_SECONDS = 10.0


class State(StrEnum):
    DONE = "done"
    ABSENT = "absent"
    PARTIAL = "partial"
    """A part of it is there, or it is there and does not work."""
    BLOCKED = "blocked"
    """It is there, and does not work until another step is done, which may be a later one."""


GOES_ON = (State.DONE, State.BLOCKED)
"""The states with which the next step begins."""


class PersonNeeded(Exception):
    """A step may not be done before a person has done something else; the message says what."""


@dataclass(frozen=True, slots=True)
class Found:
    state: State
    text: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a step does: `argv` as the journal and the plan name it, without secrets.

    `run` returns the exit code, and the SHA-256 of what was printed.
    """

    argv: tuple[str, ...]
    run: Callable[[], tuple[int, str]]


Actions = Callable[[Site], Sequence[Action]]
"""Decided when they are due: what is there already is left out. A person does what has no actions."""


def nothing(_: Site) -> Sequence[Action]:
    return ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step; steps.yaml has the texts, and says what `at_most`, `does` and `undoes` are.

    `do_by_hand` and `undo_by_hand` tell a person what to do where no program can, or none was given. So long
    (`wait_seconds`) the verification waits for the effect. What `is_confirmed_by_person` no program can
    check: a confirmation in the journal counts. After an undo that is `has_other_undo` the check need not
    find it absent: the exit codes decide.
    """

    id: str
    title: str
    check: Callable[[Site], Found]
    do: Actions = nothing
    undo: Actions = nothing
    does: tuple[str, ...] = ()
    undoes: tuple[str, ...] = ()
    owner: str = ""
    at_most: str = ""
    """Who does it and how long that takes: `leads golive deploy --plan` shows both."""
    migration: str = ""
    """The last digits of the one that it applies."""
    wait_seconds: float = 0.0
    fix: str = ""
    do_by_hand: str = ""
    undo_by_hand: str = ""
    is_confirmed_by_person: bool = False
    has_other_undo: bool = False


def function(argv: tuple[str, ...], work: Callable[[], str]) -> Action:
    """Call a function of leads; what it returns is its output. It raises what a verb may raise."""

    def run() -> tuple[int, str]:
        if output := work():
            say(f"  {output}")
        return ExitCode.OK, digest_of(output.encode())

    return Action(argv, run)


def verb(*words: str) -> Action:
    return Action(("leads", *words), lambda: _run([sys.executable, "-P", "-m", "ops", *words]))


def program(command: tuple[str, ...]) -> Action:
    return Action(command, lambda: _run(list(command)))


def _run(argv: list[str]) -> tuple[int, str]:
    """Run a program without a shell; its output is shown."""
    started = time.monotonic()
    digest = sha256()
    code: int = ExitCode.UNREACHABLE
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
    return code, digest.hexdigest()


@contextmanager
def _running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it if the block is left before it has ended.

    The lock of the deployment stays open in it (close_fds=False): a program that outlives leads keeps the
    next deployment from beginning.
    """
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, close_fds=False
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
