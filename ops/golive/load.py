"""Read the criteria of criteria/*.yaml and the lines of checklist.yaml, and refuse what is not valid."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from ops.golive.criterion import OPERATORS, WAVES, Criterion, Part, Source, Window
from ops.golive.evidence import PARAMETERS, READERS
from ops.golive.statements import STATEMENT_COLUMNS
from ops.metadata.directory import DirectoryError, parse

CRITERIA = Path(__file__).with_name("criteria")
CHECKLIST = Path(__file__).with_name("checklist.yaml")
MAX_FILE_BYTES = 1024 * 1024
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,59}")
AGE = re.compile(r"(\d{1,4}) (hours?|days?)")
REQUIRED = {"id", "lines", "title", "part", "source", "operator", "target", "owner", "remediation"}


class CriteriaError(ValueError):
    """A file of criteria is not valid; the message names file, criterion and fault."""


def load_checklist(path: Path = CHECKLIST) -> Mapping[str, str]:
    """Read the lines of the checklist: id and short words, in their order. Raises CriteriaError."""
    lines = _parse(path)
    if not isinstance(lines, dict) or not all(
        isinstance(name, str) and ID.fullmatch(name) and isinstance(words, str) and words
        for name, words in lines.items()
    ):
        raise CriteriaError(f"{path.name} is not a table of ids and words")
    return lines


@cache
def load_criteria(folder: Path = CRITERIA, checklist: Path = CHECKLIST) -> tuple[Criterion, ...]:
    """Read all criteria, in the order of files and entries. Raises CriteriaError."""
    lines = load_checklist(checklist)
    criteria = []
    for path in sorted(folder.glob("*.yaml")):
        entries = _parse(path)
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise CriteriaError(f"{path.name} is not a list of criteria")
        criteria += [_read(path.name, entry) for entry in entries]
    if double := [name for name, count in Counter(each.id for each in criteria).items() if count > 1]:
        raise CriteriaError(f"{folder.name}: {', '.join(double)} is declared twice")
    for each in criteria:
        if unknown := sorted(set(each.lines) - lines.keys()):
            raise CriteriaError(f"{each.id}: {', '.join(unknown)} is no line of {checklist.name}")
    if missing := [line for line in lines if all(line not in each.lines for each in criteria)]:
        raise CriteriaError(f"{checklist.name}: {', '.join(missing)} has no criterion")
    return tuple(criteria)


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CriteriaError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        return parse(path)
    except (OSError, UnicodeError, DirectoryError) as error:
        raise CriteriaError(f"{path.name}: {error}") from error


def _read(file: str, entry: Mapping[str, Any]) -> Criterion:
    where = f"{file}: {entry.get('id', 'a criterion without id')}"
    known = {each.name for each in fields(Criterion)} - {"title_vi", "title_en"} | {"title"}
    if missing := sorted(REQUIRED - entry.keys()):
        raise CriteriaError(f"{where}: {', '.join(missing)} is missing")
    if unknown := sorted(map(str, entry.keys() - known)):
        raise CriteriaError(f"{where}: {', '.join(unknown)} is unknown")
    values: dict[str, Any] = {}
    for name, given in entry.items():
        try:
            read: Callable[[Any], Any] = FIELDS.get(name, _text)
            values |= _titles(given) if name == "title" else {name: read(given)}
        except (TypeError, ValueError) as error:
            raise CriteriaError(f"{where}: {name} {error}") from error
    criterion = Criterion(**values)
    if fault := _fault(criterion):
        raise CriteriaError(f"{where}: {fault}")
    return criterion


def _titles(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or given.keys() != {"vi", "en"}:
        raise ValueError("is not a text in `vi` and one in `en`")
    return {"title_vi": _text(given["vi"]), "title_en": _text(given["en"])}


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"is {given!r}, not a text")
    return given


def _id(given: Any) -> str:
    if not ID.fullmatch(_text(given)):
        raise ValueError(f"is {given!r}: letters, digits, dots and hyphens are allowed, at most 60")
    return str(given)


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or len(set(given)) < len(given):
        raise ValueError(f"is {given!r}, not a list of different names")
    return tuple(_text(each) for each in given)


def _number(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not isfinite(given):
        raise ValueError(f"is {given!r}, not a number")
    return float(given)


def _count(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"is {given!r}, not a number from 1 on")
    return given


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise TypeError(f"is {given!r}, not true or false")
    return given


def _range(given: Any) -> tuple[float, float]:
    if not isinstance(given, list) or len(given) != 2:
        raise ValueError(f"is {given!r}, not two numbers")
    lowest, highest = map(_number, given)
    if lowest >= highest:
        raise ValueError(f"is {given!r}, the first number is not the lower one")
    return lowest, highest


def _age(given: Any) -> timedelta:
    found = AGE.fullmatch(given) if isinstance(given, str) else None
    if not found:
        raise ValueError(f"is {given!r}, not a number of hours or days")
    number = int(found[1])
    return timedelta(hours=number) if found[2].startswith("hour") else timedelta(days=number)


def _parameters(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise TypeError(f"is {given!r}, not a table of texts")
    return {_text(name): _text(value) for name, value in given.items()}


def _operator(given: Any) -> str:
    if given not in OPERATORS:
        raise ValueError(f"is {given!r}, not one of {' '.join(OPERATORS)}")
    return str(given)


FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "id": _id, "lines": _names, "waves": _names, "samples": _names, "good": _names, "bad": _names,
    "part": Part, "source": Source, "window": Window, "operator": _operator, "target": _number,
    "min_samples": _count, "max_age": _age, "same_commit": _flag, "range": _range, "parameters": _parameters,
}  # fmt: skip
"""What reads a field and raises TypeError or ValueError; every other one is a text."""


def _fault(criterion: Criterion) -> str | None:
    if (criterion.part is Part.GATE) != bool(criterion.waves) or not set(criterion.waves) <= set(WAVES):
        return "part gate, and no other, names the waves that need it"
    if (criterion.source is Source.PERSON) == bool(criterion.query):
        return "a query is for every source but person"
    if criterion.range and criterion.source is not Source.PERSON:
        return "a range is for source person"
    if criterion.good and criterion.bad:
        return "a share names its good or its bad cases, not both"
    if criterion.source is Source.FILE:
        return _fault_of_reader(criterion)
    return _fault_of_statement(criterion) if criterion.source is Source.SQL else None


def _fault_of_reader(criterion: Criterion) -> str | None:
    if criterion.query not in READERS:
        return f"query {criterion.query!r} is not a reader of evidence: {', '.join(READERS)}"
    if unknown := sorted(criterion.parameters.keys() - PARAMETERS.get(criterion.query, frozenset())):
        return f"{criterion.query} has no parameter {', '.join(unknown)}"
    return None


def _fault_of_statement(criterion: Criterion) -> str | None:
    columns = STATEMENT_COLUMNS.get(criterion.query)
    if columns is None:
        return f"query {criterion.query!r} is not a statement for criteria"
    named = {criterion.value, *criterion.samples, *criterion.good, *criterion.bad}
    if unknown := sorted(named - set(columns)):
        return f"{criterion.query} has no column {', '.join(unknown)}"
    if (criterion.good or criterion.bad or criterion.min_samples) and not criterion.samples:
        return "a share and min_samples need samples"
    return None
