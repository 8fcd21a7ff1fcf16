"""The criteria of the go-live checklist, as criteria/*.yaml declares them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from functools import cache
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ops.checks.model import When
from ops.checks.table import BY_ID, CHECKS
from ops.clients.db_session import QUERIES
from ops.failures import WrongUsage
from ops.metadata.directory import DirectoryError, parse

CRITERIA = Path(__file__).with_name("criteria")
CHECKLIST = Path(__file__).with_name("checklist.yaml")
WAVES = ("W1", "W2", "W3", "W4")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt, "=": eq}
SIGNS = {">=": "≥", "<=": "≤"}
# Operator, number and unit: "< 0.2 share".
TARGET = re.compile(r"(>=|>|<=|<|=) (-?\d+(?:\.\d+)?)(?: (\S.*))?")
READERS: Mapping[str, frozenset[str]] = {
    "junit": frozenset({"prefix", "first", "last"}),
    "junit_all": frozenset(),
    "figures": frozenset({"kind", "exactly", "at_least", "is_true"}),
    "baseline": frozenset(),
}
"""The readers of evidence (ops/golive/evidence.py), with the parameters that each knows."""
SAME_COMMIT = frozenset({"junit", "junit_all", "figures"})
"""The readers whose file has to be made on the installed commit."""
STATEMENTS_OF = ("golive", "kpi")
"""The files of statements that criteria may name."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,59}$")]
Text = Annotated[str, Field(pattern=r"\S")]
Count = Annotated[int, Field(strict=True, ge=1)]


class CriteriaError(ValueError):
    """A file of criteria is not valid; the message names file, criterion and fault."""


class Source(StrEnum):
    """Where the value of a criterion comes from."""

    CHECK = "check"
    SQL = "sql"
    PROMQL = "promql"
    COMMAND = "command"
    FILE = "file"
    PERSON = "person"


class Part(StrEnum):
    """A part of the checklist: the gate of a wave, or what is looked at together."""

    W1, W2, W3, W4 = WAVES
    DATABASE = "database"
    ENGINE = "engine"
    EDGE = "edge"
    METADATA = "metadata"
    PEOPLE = "people"
    DEPLOY = "deploy"
    DAY0 = "day0"
    WATCH = "watch"
    SIGN_OFF = "sign_off"


class Window(StrEnum):
    """The time that a measurement covers, up to the time of the evaluation."""

    NONE = "none"
    DAY = "day"
    WAVE = "wave"
    PILOT = "pilot"


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Criterion:
    """What is measured for lines of the checklist (`lines`, their ids), and the target.

    `query` is, by `source`, the ids of checks, the name of a statement under sql/, a PromQL expression, a
    reader of evidence, or a probe. Of checks the target is that all are green, and the cure is theirs.
    `value` is the column of a statement; `samples` are the columns whose sum is the number of cases, of which
    `min_samples` are needed. A share names the columns of its `good` or of its `bad` cases. `range` are the
    lowest and the highest value that a person can attest.
    """

    id: Id
    lines: tuple[Text, ...]
    title_vi: Text
    title_en: Text
    parts: tuple[Part, ...]
    source: Source
    owner: Text
    operator: str = "="
    target: FiniteFloat = 0
    remediation: str = ""
    query: str = ""
    value: Text = "value"
    samples: tuple[Text, ...] = ()
    good: tuple[Text, ...] = ()
    bad: tuple[Text, ...] = ()
    unit: str = ""
    min_samples: Count | None = None
    window: Window = Window.NONE
    max_age_days: Count | None = None
    runbook: str = ""
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    parameters: Mapping[str, Text] = field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if fault := next(_faults(self), None):
            raise ValueError(fault)
        return self

    def is_met_by(self, value: float) -> bool:
        """Whether the value is on the right side of the target."""
        return OPERATORS[self.operator](value, self.target)

    @property
    def bad_limit(self) -> float | None:
        """The share of bad cases that the target allows; None for a criterion that is no share."""
        if not self.good and not self.bad:
            return None
        return 1 - self.target if self.operator in (">=", ">") else self.target

    @property
    def shown_target(self) -> str:
        """The target as people write it."""
        if self.source is Source.CHECK:
            return "green"
        return f"{SIGNS.get(self.operator, self.operator)} {self.shown(self.target)}"

    def shown(self, value: float | None) -> str:
        """Return a value with the unit of the criterion; a share as a percentage."""
        if value is None:
            return "no value"
        if self.unit == "share":
            return f"{value * 100:.4g} %"
        if self.unit == "version":
            return f"{self.unit} {value:.0f}"
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
        return f"{text} {self.unit}".strip()


def _faults(criterion: Criterion) -> Iterator[str]:
    if not criterion.lines or not criterion.parts:
        yield "lines and parts name at least one each"
    if (criterion.source is Source.PERSON) == bool(criterion.query):
        yield "a query is for every source but person"
    if criterion.range and criterion.source is not Source.PERSON:
        yield "a range is for source person"
    if criterion.range and criterion.range[0] >= criterion.range[1]:
        yield "the first number of a range is the lower one"
    if criterion.good and criterion.bad:
        yield "a share names its good or its bad cases, not both"
    if criterion.source is not Source.CHECK and not criterion.remediation:
        yield "every source but check has a remediation"
    if criterion.source is Source.CHECK and (others := set(criterion.query.split()) - BY_ID.keys()):
        yield f"{', '.join(sorted(others))} is not a check of ops/checks/table.py"
    if criterion.source is Source.FILE:
        if criterion.query not in READERS:
            yield f"query {criterion.query!r} is not a reader of evidence: {', '.join(READERS)}"
        elif unknown := sorted(criterion.parameters.keys() - READERS[criterion.query]):
            yield f"{criterion.query} has no parameter {', '.join(unknown)}"
    if criterion.source is Source.SQL:
        if criterion.query not in QUERIES or criterion.query.partition("/")[0] not in STATEMENTS_OF:
            yield f"query {criterion.query!r} is not a statement for criteria"
        if (criterion.good or criterion.bad or criterion.min_samples) and not criterion.samples:
            yield "a share and min_samples need samples"


READ = TypeAdapter(Criterion)


def load_checklist(path: Path = CHECKLIST) -> Mapping[str, str]:
    """Read the lines of the checklist: id and short words, in their order. Raises CriteriaError."""
    lines = _parse(path)
    try:
        return TypeAdapter(dict[Id, Text]).validate_python(lines)
    except ValidationError as error:
        raise CriteriaError(f"{path.name} is not a table of ids and words") from error


@cache
def load_criteria(folder: Path = CRITERIA, checklist: Path = CHECKLIST) -> tuple[Criterion, ...]:
    """Read all criteria, in the order of files and entries; then those of the table. Raises CriteriaError."""
    lines = load_checklist(checklist)
    criteria = [_read(path.name, entry) for path in sorted(folder.glob("*.yaml")) for entry in _entries(path)]
    if double := [name for name, count in Counter(each.id for each in criteria).items() if count > 1]:
        raise CriteriaError(f"{folder.name}: {', '.join(double)} is declared twice")
    for each in criteria:
        if unknown := sorted(set(each.lines) - lines.keys()):
            raise CriteriaError(f"{each.id}: {', '.join(unknown)} is no line of {checklist.name}")
    if missing := [line for line in lines if all(line not in each.lines for each in criteria)]:
        raise CriteriaError(f"{checklist.name}: {', '.join(missing)} has no criterion")
    return (*criteria, *(_unlisted(criteria) if folder == CRITERIA else ()))


def find_criterion(criterion_id: str) -> Criterion:
    """Return the criterion of that id. Raises WrongUsage, which names similar ones."""
    criteria = load_criteria()
    for each in criteria:
        if each.id == criterion_id:
            return each
    near = [each.id for each in criteria if criterion_id.casefold() in each.id.casefold()]
    hint = f" Similar: {', '.join(near[:5])}." if near and criterion_id else ""
    raise WrongUsage(f"There is no criterion {criterion_id!r}.{hint} List them with: leads golive list")


def criteria_of(*parts: Part) -> list[Criterion]:
    """Return the criteria of these parts, part after part; one that is in several of them only once."""
    found = {each.id: each for part in parts for each in load_criteria() if part in each.parts}
    return list(found.values())


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a file; those of a group (`criteria`) have its other fields too."""
    entries = _parse(path)
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise CriteriaError(f"{path.name} is not a list of criteria")
    for entry in entries:
        shared = {name: value for name, value in entry.items() if name != "criteria"}
        for each in entry.get("criteria", [{}]):
            yield shared | each


def _read(file: str, entry: Mapping[str, Any]) -> Criterion:
    where = f"{file}: {entry.get('id', 'a criterion without id')}"
    try:
        title = _title(entry.get("title"))
        more = _of_checks(entry) if entry.get("source") == Source.CHECK else _target(entry.get("target"))
        fields = {name: value for name, value in entry.items() if name != "title"}
        return READ.validate_python(fields | title | more)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise CriteriaError(f"{where}: {place}: {fault['msg']}") from error
    except ValueError as error:
        raise CriteriaError(f"{where}: {error}") from error


def _title(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() != {"vi", "en"}:
        raise ValueError("title is not a text in `vi` and one in `en`")
    return {"title_vi": given["vi"], "title_en": given["en"]}


def _of_checks(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a criterion has from its first check."""
    if "target" in entry or "remediation" in entry:
        raise ValueError("target and remediation of source check are those of its checks")
    check = BY_ID.get(str(entry.get("query")).split()[0])
    return {"unit": "faults", "remediation": check.cure, "runbook": check.runbook} if check else {}


def _unlisted(criteria: Iterable[Criterion]) -> Iterator[Criterion]:
    """Yield a criterion for each check of the pre-check that no line of the checklist names."""
    named = {name for each in criteria if each.source is Source.CHECK for name in each.query.split()}
    for check in CHECKS:
        if When.PRECHECK in check.when and check.id not in named:
            yield Criterion(
                id=check.id, lines=("-",), title_vi=check.question, title_en=check.question,
                parts=(Part(check.area),), source=Source.CHECK, owner="BE", query=check.id, unit="faults",
                remediation=check.cure, runbook=check.runbook, parameters={"applied": "as far as it is"},
            )  # fmt: skip


def _target(given: Any) -> dict[str, Any]:
    found = TARGET.fullmatch(given) if isinstance(given, str) else None
    if not found:
        raise ValueError(f"target is {given!r}, not an operator, a number and a unit")
    return {"operator": found[1], "target": float(found[2]), "unit": found[3] or ""}


def _parse(path: Path) -> Any:
    try:
        return parse(path)
    except (OSError, UnicodeError, DirectoryError) as error:
        raise CriteriaError(f"{path.name}: {error}") from error
