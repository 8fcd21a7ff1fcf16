"""The table of checks: every module of them, in the order in which one part needs another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ops.checks import database, deployment, edge, engine, handlers, leads, rights, surroundings
from ops.checks.model import LOOK_SECONDS, Asked, Check, Facts, Params, Reader, Result, When, judge
from ops.checks.services import Services
from ops.clients.pg_programs import reaching

MODULES = (database, engine, rights, handlers, edge, leads, deployment, surroundings)
CHECKS = tuple(each for module in MODULES for each in module.CHECKS)
BY_ID: Mapping[str, Check] = {check.id: check for check in CHECKS}


def select(when: When, params: Params | None = None) -> list[Asked]:
    """Return the checks that a command asks."""
    return [Asked(check, params or {}) for check in CHECKS if when in check.when]


def look_at(
    wanted: Sequence[Asked], services: Services, facts: Facts | None = None, seconds: float = LOOK_SECONDS,
    table: Sequence[Check] = CHECKS,
) -> list[Result]:  # fmt: skip
    """Ask these checks, and those that they need, in the order of the table; see `judge`.

    All readers run at once, but for those of which `facts` has a value. No answer is waited for after
    `seconds`, or after the longest time that a check says it takes to read it.
    """
    asked = _with_needs(wanted, table)
    readers: dict[Reader[Any], float] = {}
    for each in asked:
        for reader in each.check.reads:
            readers[reader] = max(readers.get(reader, seconds), each.check.seconds)
    facts = facts or Facts({})
    facts.start(readers, services)
    return [_with_server(each, services.settings.database_url) for each in judge(asked, facts)]


def _with_needs(wanted: Sequence[Asked], table: Sequence[Check]) -> list[Asked]:
    needed = {need for each in wanted for need in each.check.needs}
    found: list[Asked] = []
    for check in reversed(table):
        if named := [each for each in wanted if each.check.id == check.id]:
            found += reversed(named)
        elif check.id in needed:
            needed |= set(check.needs)
            found.append(Asked(check, is_wanted=False))
    return found[::-1]


def _with_server(result: Result, database_url: str) -> Result:
    """Let the statements and files that cures print reach the server that was looked at."""
    found = (replace(each, cure=reaching(each.cure, database_url)) for each in result.findings)
    return replace(result, findings=tuple(found))
