"""The table of checks: every module of them, in the order in which one part needs another."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.checks import database, deployment, edge, engine, handlers, leads, rights, surroundings
from ops.checks.model import LOOK_SECONDS, Asked, Check, Facts, Params, Reader, Result, When, look
from ops.checks.services import Services

MODULES = (database, engine, rights, handlers, edge, leads, deployment, surroundings)
CHECKS = tuple(each for module in MODULES for each in module.CHECKS)
BY_ID: Mapping[str, Check] = {check.id: check for check in CHECKS}

Known = Mapping[Reader[Any], Any]
"""Values that are read already, by their readers."""


def select(when: When, params: Params | None = None) -> list[Asked]:
    """Return the checks that a command asks."""
    return [Asked(check, params or {}) for check in CHECKS if when in check.when]


def look_at(
    wanted: Sequence[Asked], services: Services, known: Known | None = None, seconds: float = LOOK_SECONDS
) -> tuple[list[Result], Facts]:
    """Ask these checks at once; `known` are values that are read already."""
    return look(wanted, CHECKS, services, known or {}, seconds)
