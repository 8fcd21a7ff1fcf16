"""The criteria of the go-live checklist, as criteria/*.yaml declares them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum, auto
from functools import cache
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter
from pydantic.dataclasses import dataclass

from ops.checks.table import BY_ID
from ops.clients.db_session import QUERIES
from ops.failures import WrongUsage
from ops.files import digest_of
from ops.metadata.directory import parse
from ops.output import yesterday

CRITERIA = Path(__file__).with_name("criteria")
Environment = Literal["production", "staging", "any"]
PRODUCTION: Environment = "production"
STAGING: Environment = "staging"
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

    CHECK = auto()
    SQL = auto()
    PROMQL = auto()
    COMMAND = auto()
    FILE = auto()
    PERSON = auto()

    @property
    def is_of_people(self) -> bool:
        return self in (Source.FILE, Source.PERSON)


class Part(StrEnum):
    """A part of the checklist: the gate of a wave (`entry`: before W1), or what is looked at together."""

    ENTRY = "entry"
    W1, W2, W3, W4 = WAVES
    DATABASE = "database"
    ENGINE = "engine"
    EDGE = "edge"
    METADATA = "metadata"
    PEOPLE = "people"
    DEPLOY = "deploy"
    DAY0 = "day0"
    WATCH = "watch"
    SIGN_OFF = "sign-off"


class Stage(StrEnum):
    """When a criterion of the pre-check can pass, if not always: only before or after the deployment."""

    BEFORE = auto()
    AFTER = auto()


class Window(StrEnum):
    """The time that a measurement covers, up to the time of the evaluation."""

    NONE = auto()
    DAY = auto()
    WAVE = auto()
    PILOT = auto()


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", defer_build=True))
class Criterion:
    """What is measured for lines of the checklist (`lines`, their ids; `-`: of none), and the target.

    `query` is, by `source`, the ids of checks, the name of a statement under sql/, a PromQL expression, a
    reader of evidence, or a probe; in the files the source is its key, and what has none a person answers. Of
    checks the target is that all are green, and the cure is theirs. `value` is the column of a statement;
    `samples` are the columns whose sum is the number of cases, of which `min_samples` are needed, and as many
    as the column `needed` says. A share names the columns of its `good` or of its `bad` cases. `range` are
    the lowest and the highest value that a person can attest. Its owner may waive it if `may_be_waived`.
    `environment` is where evidence has to be made that names its database, and where a person has to look;
    `any` of evidence that does not name it. In the first week it is asked from day `from_day` of W1
    on.
    """

    id: Id
    title_vi: Text
    title_en: Text
    parts: tuple[Part, ...]
    owner: Role
    lines: tuple[Text, ...] = ("-",)
    source: Source = Source.PERSON
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
    from_day: Count | None = None
    stage: Stage | None = None
    runbook: str = ""
    range: tuple[FiniteFloat, FiniteFloat] | None = None
    parameters: Mapping[str, Text] = field(default_factory=dict)
    may_be_waived: bool = False
    chart: Mapping[str, Text] = field(default_factory=dict)
    """The title, in both languages, of its values by day in the report; empty: it is not drawn."""
    environment: Environment = PRODUCTION

    def is_met_by(self, value: float) -> bool:
        return OPERATORS[self.operator](value, self.target)

    @property
    def is_stated_of_staging(self) -> bool:
        return self.source is Source.PERSON and self.environment == STAGING

    @property
    def how_to_attest(self) -> str:
        """Return the command that states it; VALUE, CASES and FILE are the person's."""
        value = "=VALUE" if self.source is Source.PERSON else ""
        cases = " --cases CASES" if value and self.min_samples else ""
        return f"leads golive attest {self.id}{value}{cases} --evidence FILE"

    @property
    def may_have_fewer(self) -> bool:
        """Whether its owner may sign that fewer cases than `min_samples` suffice."""
        return self.min_samples is not None and not self.needed and self.source in (Source.SQL, Source.PROMQL)

    @property
    def knows_past(self) -> bool:
        """Whether its source can be asked how it was at a time that is over."""
        if self.source is Source.SQL:
            # A statement without the end of its window tells the state of now.
            return b"%(to)s" in QUERIES[self.query]
        return self.source is not Source.CHECK and (
            self.source is not Source.COMMAND or self.window is not Window.NONE
        )

    @property
    def bad_limit(self) -> float | None:
        """The share of bad cases that the target allows; None for a criterion that is no share."""
        if not self.good and not self.bad:
            return None
        return 1 - self.target if self.operator in (">=", ">") else self.target

    @property
    def shown_target(self) -> str:
        if self.source is Source.CHECK:
            return "green"
        return f"{SIGNS.get(self.operator, self.operator)} {self.shown(self.target)}"

    @property
    def shown_rule(self) -> str:
        """Return the target, and how many cases are needed at least."""
        return self.shown_target + (f", n ≥ {self.min_samples}" if self.min_samples else "")

    def cure(self, at: datetime) -> str:
        """Return the remediation with its days: the last one that was over, and when a waiver might end."""
        in_a_week = f"{at + timedelta(days=7):%Y-%m-%d}"
        return self.remediation.replace("{yesterday}", yesterday(at)).replace("{in_a_week}", in_a_week)

    def shown(self, value: float | None) -> str:
        if value is None:
            return "no value"
        return f"{self.digits(value)} {'' if self.unit == 'share' else self.unit}".strip()

    def digits(self, value: float) -> str:
        """Return a value without its unit; a share as a percentage."""
        if self.unit == "share":
            return f"{value * 100:.4g} %"
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


READ = TypeAdapter(Criterion)
WORDS = {"lines", "title_vi", "title_en", "owner", "remediation", "runbook", "chart"}
"""Fields of a criterion that decide nothing."""


@cache
def load_criteria() -> tuple[Criterion, ...]:
    """Read all criteria, in the order of files and entries."""
    return tuple(_read(entry) for path in sorted(CRITERIA.glob("*.yaml")) for entry in _entries(path))


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
    """Return what decides; of a statement its text too, which its name does not tell."""
    found: dict[str, Any] = READ.dump_python(criterion, mode="json", exclude=WORDS)
    if criterion.source is Source.SQL:
        found["statement"] = digest_of(QUERIES[criterion.query])
    return found


PRECHECK = (Part.ENGINE, Part.DATABASE, Part.EDGE, Part.METADATA, Part.PEOPLE)


def entry_criteria() -> list[Criterion]:
    """Return what W1 needs to begin: the general gates (E1), the pre-check once deployed (E2, E3), guards."""
    general = [
        each for each in criteria_of(Part.W1)
        if Part.ENTRY in each.parts or any(line.startswith("E1.G-") for line in each.lines)
    ]  # fmt: skip
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
    for source in {*Source} & fields.keys():
        fields |= {"source": source, "query": fields.pop(source)}
    if "check" in entry:
        check = BY_ID[entry["check"].split()[0]]
        fields |= {"unit": "faults", "remediation": check.cure, "runbook": check.runbook}
    else:
        operator, target, *unit = entry["target"].split(maxsplit=2)
        fields |= {"operator": operator, "target": float(target), "unit": "".join(unit)}
    return READ.validate_python(fields)
