"""A criterion of the go-live checklist, as criteria/*.yaml declares it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from operator import eq, ge, gt, le, lt


class Source(StrEnum):
    """Where the value of a criterion comes from."""

    SQL = "sql"
    PROMQL = "promql"
    ENGINE = "engine"
    COMMAND = "command"
    FILE = "file"
    PERSON = "person"


class Part(StrEnum):
    """The part of the checklist in which a criterion is looked at; `gate` also needs `waves`."""

    GATE = "gate"
    DATABASE = "database"
    ENGINE = "engine"
    EDGE = "edge"
    METADATA = "metadata"
    PEOPLE = "people"
    DEPLOY = "deploy"
    DAY0 = "day0"
    WATCH = "watch"
    SIGN_OFF = "sign_off"


WAVES = ("W1", "W2", "W3", "W4")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt, "=": eq}


class Window(StrEnum):
    """The time that a measurement covers, up to the time of the evaluation."""

    NONE = "none"
    DAY = "day"
    WEEK = "week"
    WAVE = "wave"
    PILOT = "pilot"


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is measured for lines of the checklist (`lines`, their ids), and the target.

    `query` is the name of a statement under sql/, a PromQL expression, a reader of evidence, or a probe, by
    `source`. `value` is the column of a statement; `samples` are the columns whose sum is the number of
    cases, of which `min_samples` are needed. A share names the columns of its `good` or of its `bad` cases.
    `range` are the lowest and the highest value that a person can attest.
    """

    id: str
    lines: tuple[str, ...]
    title_vi: str
    title_en: str
    part: Part
    source: Source
    operator: str
    target: float
    owner: str
    remediation: str
    waves: tuple[str, ...] = ()
    query: str = ""
    value: str = "value"
    samples: tuple[str, ...] = ()
    good: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    unit: str = ""
    min_samples: int = 0
    window: Window = Window.NONE
    max_age: timedelta | None = None
    same_commit: bool = False
    runbook: str = ""
    range: tuple[float, float] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    def is_met_by(self, value: float) -> bool:
        """Whether the value is on the right side of the target."""
        return OPERATORS[self.operator](value, self.target)

    @property
    def bad_limit(self) -> float | None:
        """The share of bad cases that the target allows; None for a criterion that is no share."""
        if not self.good and not self.bad:
            return None
        return 1 - self.target if self.operator in (">=", ">") else self.target
