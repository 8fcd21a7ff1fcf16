"""The table of commands of the metadata API, filled by the modules beside this one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.hasura.auth import Session
from sandbox.hasura.metadata.access import Json

if TYPE_CHECKING:
    from sandbox.hasura.engine import Engine

SUCCESS = {"message": "success"}


@dataclass
class Context:
    """What a command works on.

    metadata: a working copy, taken over by the engine when the command has succeeded;
    subject: the object whose inconsistency is this command's own fault; refresh: read the catalog again.
    """

    engine: "Engine"
    session: Session
    metadata: Json
    subject: str | None = None
    refresh: bool = False
    allow_inconsistent: bool = False
    notes: Json = field(default_factory=dict)


Function = Callable[[Context, Json], Awaitable[Any]]


@dataclass(frozen=True)
class Command:
    """A command; `changes` metadata or only reads; `removes`: then new inconsistencies are a 500."""

    function: Function
    changes: bool
    removes: bool


COMMANDS: dict[str, Command] = {}
PREFIX = "pg_"


def command(
    *names: str, changes: bool = True, removes: bool = False, postgres: bool = False
) -> Callable[[Function], Function]:
    """Register a function under its names; `postgres` adds each name with `pg_` in front."""

    def register(function: Function) -> Function:
        for name in names:
            COMMANDS[name] = Command(function, changes, removes)
            if postgres:
                COMMANDS[PREFIX + name] = COMMANDS[name]
        return function

    return register
