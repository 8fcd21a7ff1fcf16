"""A step of the deployment: what checks it, what does it, what undoes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.golive.deploy.site import Site


class State(StrEnum):
    """What a check finds of a step."""

    DONE = "done"
    ABSENT = "absent"
    PARTIAL = "partial"
    """A part of it is there, or it is there and does not work."""


@dataclass(frozen=True, slots=True)
class Found:
    """The state of a step, with what was looked at in words."""

    state: State
    text: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How an action ended: its exit code and the SHA-256 of what it printed."""

    exit_code: int
    output_sha256: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a step does: `argv` as the journal and the plan name it, without secrets."""

    argv: tuple[str, ...]
    run: Callable[[], Result]


Actions = Callable[["Site"], Sequence[Action]]
"""The actions of a step, decided when they are due: what is there already is left out."""


def nothing(site: "Site") -> Sequence[Action]:
    """Return no action."""
    return ()


@dataclass(frozen=True, slots=True)
class Step:
    """A step. `at_most` is the longest time that its own limits allow, in words.

    `do_by_hand` and `undo_by_hand` tell a person what to do where no program can, or none was given.
    `is_confirmed_by_person`: no program can check it; a confirmation in the journal counts.
    """

    id: str
    title: str
    owner: str
    at_most: str
    shown: tuple[str, ...]
    """Its commands, for the plan."""

    shown_undo: tuple[str, ...]
    check: Callable[["Site"], Found]
    do: Actions = nothing
    undo: Actions = nothing
    wait_seconds: float = 0.0
    """How long the verification waits for the effect."""

    fix: str = ""
    do_by_hand: str = ""
    undo_by_hand: str = ""
    is_confirmed_by_person: bool = False
    has_other_undo: bool = field(default=False)
    """After its undo the check need not find it absent: the exit codes decide."""
