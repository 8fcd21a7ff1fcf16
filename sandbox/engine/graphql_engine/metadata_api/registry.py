"""The table of commands of the metadata API; the other modules of the package fill it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from graphql_engine.changes import Context
from graphql_engine.metadata.access import Json

SUCCESS = {"message": "success"}


Function = Callable[[Context, Json], Awaitable[Any]]


@dataclass(frozen=True)
class Command:
    """A command. changes: it changes metadata; removes: new inconsistencies are a 500; postgres: its name on
    /v1/metadata has the prefix `pg_`, on /v1/query it has not."""

    function: Function
    changes: bool
    removes: bool
    postgres: bool


COMMANDS: dict[str, Command] = {}
PREFIX = "pg_"


def command(
    *names: str, changes: bool = True, removes: bool = False, postgres: bool = False
) -> Callable[[Function], Function]:
    """Register a function under its names; `postgres` adds each name with the prefix `pg_`."""

    def register(function: Function) -> Function:
        for name in names:
            COMMANDS[name] = Command(function, changes, removes, postgres)
            if postgres:
                COMMANDS[PREFIX + name] = COMMANDS[name]
        return function

    return register
