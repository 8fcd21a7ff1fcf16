"""The criteria of the go-live checklist, as criteria/*.yaml declares them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from enum import StrEnum
from functools import cache
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter
from pydantic.dataclasses import dataclass

from ops.checks.model import When
from ops.checks.table import BY_ID, CHECKS
from ops.failures import WrongUsage
from ops.metadata.directory import parse

CRITERIA = Path(__file__).with_name("criteria")
PRODUCTION: Literal["production"] = "production"
WAVES = ("W1", "W2", "W3", "W4")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt, "=": eq}
SIGNS = {">=": "≥", "<=": "≤"}
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,59}$")]
Text = Annotated[str, Field(pattern=r"\S")]
Count = Annotated[int, Field(strict=True, ge=1)]


Role = StrEnum(
    "Role",
    ["OWNER", "LEAD", "DEVELOPER", "QA", "DEVOPS", "OPS", "SECURITY", "LEGAL", "DIRECTOR", "RELEASE"],
)
"""Who owns and states a criterion; RELEASE begins waves and signs reports."""


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

    ENTRY = "entry"
    """Before W1: general gates, and the pre-check."""
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


class Stage(StrEnum):
    """When a criterion of the pre-check can pass, if not always."""

    BEFORE = "before"
    """Only before the deployment, or on its day."""
    AFTER = "after"
    """Only once the integration is deployed."""


class Window(StrEnum):
    """The time that a measurement covers, up to the time of the evaluation."""

    NONE = "none"
    DAY = "day"
    WAVE = "wave"
    PILOT = "pilot"


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", defer_build=True))
class Criterion:
    """What is measured for lines of the checklist (`lines`, their ids), and the target.

    `query` is, by `source`, the ids of checks, the name of a statement under sql/, a PromQL expression, a
    reader of evidence, or a probe. Of checks the target is that all are green, and the cure is theirs.
    `value` is the column of a statement; `samples` are the columns whose sum is the number of cases, of which
    `min_samples` are needed, and as many as the column `needed` says. A share names the columns of its `good`
    or of its `bad` cases. `range` are the lowest and the highest value that a person can attest. Its owner
    may waive it if `may_be_waived`. `environment` is where evidence that names its database has to be made.
    """

    id: Id
    lines: tuple[Text, ...]
    title_vi: Text
    title_en: Text
    parts: tuple[Part, ...]
    source: Source
    owner: Role
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
    needed: str = ""
    window: Window = Window.NONE
    max_age_days: Count | None = None
    stage: Stage | None = None
    runbook: str = ""
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    parameters: Mapping[str, Text] = field(default_factory=dict)
    may_be_waived: bool = False
    environment: Literal["production", "staging"] = PRODUCTION

    def is_met_by(self, value: float) -> bool:
        """Whether the value is on the right side of the target."""
        return OPERATORS[self.operator](value, self.target)

    @property
    def may_have_fewer(self) -> bool:
        """Whether its owner may sign that fewer cases than `min_samples` suffice."""
        return self.min_samples is not None and not self.needed and self.source in (Source.SQL, Source.PROMQL)

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


READ = TypeAdapter(Criterion)
WORDS = {"lines", "title_vi", "title_en", "owner", "remediation", "runbook"}
"""Fields of a criterion that decide nothing."""


@cache
def load_criteria() -> tuple[Criterion, ...]:
    """Read all criteria, in the order of files and entries; then those of the table of checks."""
    criteria = [_read(entry) for path in sorted(CRITERIA.glob("*.yaml")) for entry in _entries(path)]
    return (*criteria, *_unlisted(criteria))


def find_criterion(criterion_id: str) -> Criterion:
    """Return the criterion of that id. Raises WrongUsage, which names similar ones."""
    criteria = load_criteria()
    for each in criteria:
        if each.id == criterion_id:
            return each
    near = [each.id for each in criteria if criterion_id.casefold() in each.id.casefold()]
    hint = f" Similar: {', '.join(near[:5])}." if near and criterion_id else ""
    raise WrongUsage(f"There is no criterion {criterion_id!r}.{hint} List them with: leads golive list")


def rule_of(criterion: Criterion) -> dict[str, Any]:
    """Return what decides, as JSON values."""
    found: dict[str, Any] = READ.dump_python(criterion, mode="json", exclude=WORDS)
    return found


PRECHECK = (Part.ENGINE, Part.DATABASE, Part.EDGE, Part.METADATA, Part.PEOPLE)


def entry_criteria() -> list[Criterion]:
    """Return what W1 needs to begin: the general gates (E1), and the pre-check once deployed (E2, E3)."""
    general = [each for each in criteria_of(Part.W1) if any(line.startswith("E1.G-") for line in each.lines)]
    checked = [each for each in criteria_of(*PRECHECK) if each.stage is not Stage.BEFORE]
    return list({each.id: each for each in (*general, *checked)}.values())


def criteria_of(*parts: Part) -> list[Criterion]:
    """Return the criteria of these parts, part after part; one that is in several of them only once."""
    found = {each.id: each for part in parts for each in load_criteria() if part in each.parts}
    if Part.ENTRY in parts:
        found |= {each.id: each for each in entry_criteria()}
    return list(found.values())


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a file; those of a group (`criteria`) have its other fields too."""
    for entry in parse(path):
        shared = {name: value for name, value in entry.items() if name != "criteria"}
        for each in entry.get("criteria", [{}]):
            yield shared | each


def _read(entry: Mapping[str, Any]) -> Criterion:
    """Make a criterion of an entry; one of checks has cure and runbook of the first of them."""
    fields = dict(entry)
    title = fields.pop("title")
    fields |= {"title_vi": title["vi"], "title_en": title["en"]}
    if entry["source"] == Source.CHECK:
        check = BY_ID[entry["query"].split()[0]]
        fields |= {"unit": "faults", "remediation": check.cure, "runbook": check.runbook}
    else:
        operator, target, *unit = entry["target"].split(maxsplit=2)
        fields |= {"operator": operator, "target": float(target), "unit": "".join(unit)}
    return READ.validate_python(fields)


def _unlisted(criteria: Iterable[Criterion]) -> Iterator[Criterion]:
    """Yield a criterion for each check of the pre-check that no line of the checklist names."""
    named = {name for each in criteria if each.source is Source.CHECK for name in each.query.split()}
    for check in CHECKS:
        if When.PRECHECK in check.when and check.id not in named:
            yield Criterion(
                id=check.id, lines=("-",), title_vi=check.question, title_en=check.question,
                parts=(Part(check.area),), source=Source.CHECK, owner=Role.DEVELOPER, query=check.id,
                unit="faults", remediation=check.cure, runbook=check.runbook,
                parameters={"applied": "as far as it is"},
            )  # fmt: skip
