"""Read the criteria of criteria/*.yaml, and refuse what is not one."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from leads.cli.golive.criterion import OPERATORS, WAVES, Criterion, Part, Source, Window

CRITERIA = Path(__file__).with_name("criteria")
AGE = re.compile(r"(\d+) ?(hours?|days?)")
OPTIONAL = {"waves", "value", "samples", "good", "bad", "unit", "min_samples", "window", "max_age", "same_commit",
            "runbook", "parameters", "query"}  # fmt: skip
REQUIRED = ({each.name for each in fields(Criterion)} | {"title"}) - OPTIONAL - {"title_vi", "title_en"}


class CriteriaError(ValueError):
    """A file of criteria is not valid; the message names file, criterion and fault."""


def load_criteria(folder: Path = CRITERIA) -> tuple[Criterion, ...]:
    """Read all criteria, in the order of files and lines. Raises CriteriaError."""
    criteria = [
        _read(path.name, entry) for path in sorted(folder.glob("*.yaml")) for entry in _entries(path)
    ]
    if double := [name for name, count in Counter(each.id for each in criteria).items() if count > 1]:
        raise CriteriaError(f"{folder}: {', '.join(double)} is declared twice")
    return tuple(criteria)


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise CriteriaError(f"{path.name}: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise CriteriaError(f"{path.name} is not a list of criteria")
    return entries


def _read(file: str, entry: Mapping[str, Any]) -> Criterion:
    where = f"{file}: {entry.get('id', 'a criterion without id')}"
    if missing := sorted(REQUIRED - entry.keys()):
        raise CriteriaError(f"{where}: {', '.join(missing)} is missing")
    if unknown := sorted(entry.keys() - REQUIRED - OPTIONAL):
        raise CriteriaError(f"{where}: {', '.join(unknown)} is unknown")
    values = dict(entry)
    title = values.pop("title")
    try:
        criterion = Criterion(
            **{
                **values,
                "title_vi": title["vi"],
                "title_en": title["en"],
                "part": Part(values["part"]),
                "source": Source(values["source"]),
                "target": float(values["target"]),
                "waves": tuple(values.get("waves", ())),
                "samples": tuple(values.get("samples", ())),
                "good": tuple(values.get("good", ())),
                "bad": tuple(values.get("bad", ())),
                "window": Window(values.get("window", "none")),
                "max_age": _age(values.get("max_age")),
            }
        )
    except (TypeError, ValueError, KeyError) as error:
        raise CriteriaError(f"{where}: {error}") from error
    if fault := _fault(criterion):
        raise CriteriaError(f"{where}: {fault}")
    return criterion


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = AGE.fullmatch(text)
    if not found:
        raise ValueError(f"max_age {text!r} is not a number of hours or days")
    number = int(found[1])
    return timedelta(hours=number) if found[2].startswith("hour") else timedelta(days=number)


def _fault(criterion: Criterion) -> str | None:
    if criterion.operator not in OPERATORS:
        return f"operator {criterion.operator!r} is none of {' '.join(OPERATORS)}"
    if criterion.source is not Source.PERSON and not criterion.query:
        return f"source {criterion.source} needs a query"
    if (criterion.part is Part.GATE) != bool(criterion.waves) or not set(criterion.waves) <= set(WAVES):
        return "part gate, and no other, names the waves that need it"
    if criterion.good and criterion.bad:
        return "a share names its good or its bad cases, not both"
    if (criterion.good or criterion.bad or criterion.min_samples) and not (
        criterion.samples or criterion.source in (Source.PROMQL, Source.PERSON, Source.FILE)
    ):
        return "a share or min_samples needs samples"
    return None
