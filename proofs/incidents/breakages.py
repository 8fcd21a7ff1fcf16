"""What can break in a running sandbox: how it is done and undone, and everything that has to name it.

`leads status`, the alerts, the precheck and the gates are tested from breakages.yaml, and live incidents of
the same faults break and mend with it. tests/support/breakages.py adds the faults that need a fake, and
tests/ops/golive/test_gates.py those that only rows of a pilot of weeks can show.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proofs.incidents import faults
from proofs.incidents.faults import STATEMENTS, Break


@dataclass(frozen=True)
class Breakage:
    """A fault, and what names it; a field is empty if nothing does.

    `check`: the check that `leads status` names as the cause.
    `text`: what that says, or without it the first criterion; a regular expression.
    `alerts`: those that fire, without the `Pancake` before them, separated by spaces. Their pages have it.
    `criteria`: the criteria of the go-live that fail, and no other of their parts; separated by spaces.
    `gates`: those that tests/ops/golive/test_gates.py asks; `broken` is of SQL alone then.
    `incident`: the live incident of the catalogue that has this fault.
    `person`: what a person has to do, in the words of the printed cure; without it its commands mend it.
    """

    name: str
    broken: Break
    check: str = ""
    text: str = ""
    alerts: str = ""
    criteria: str = ""
    gates: str = ""
    incident: str = ""
    person: str = ""


def _by_statements(*given: str) -> Break:
    """Break and mend by two statements, each in words or by its name in statements.sql."""
    broken, mended = (STATEMENTS.get(text, text) for text in given)
    return faults.by_sql(broken, mended)


KINDS: dict[str, Callable[..., Break]] = {
    "sql": _by_statements,
    "metadata": faults.by_metadata,
    "setting": faults.by_setting,
    "pancake": faults.by_pancake,
    "stopped": faults.without_service,
}


def _broken(given: str | dict[str, list[Any]]) -> Break:
    """Return the fault of that name in faults.py, or the one of a kind with its arguments."""
    if isinstance(given, str):
        named: Break = getattr(faults, given)
        return named
    ((kind, arguments),) = given.items()
    return KINDS[kind](*arguments)


def _read() -> list[Breakage]:
    listed = yaml.safe_load(Path(__file__).with_name("breakages.yaml").read_text("utf-8"))
    return [Breakage(**{**each, "broken": _broken(each["broken"])}) for each in listed]


BREAKAGES = tuple(_read())
