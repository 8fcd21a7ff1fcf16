"""Judge a measurement by its criterion. Nothing is coerced: what is no number is inconclusive, never a pass."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite

from leads.cli.golive.criterion import Criterion
from leads.domain.proportion import is_shown_below, needed_without_bad, wilson_interval


class Outcome(StrEnum):
    """What was found."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WAIVED = "waived"
    NOT_APPLICABLE = "not_applicable"


OPEN = frozenset({Outcome.FAIL, Outcome.INCONCLUSIVE})
"""The outcomes with which a gate stays closed."""


class Why(StrEnum):
    """Why a measurement is inconclusive."""

    NO_DATA = "no_data"
    TOO_FEW = "too_few"
    SOURCE_DOWN = "source_down"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a source said. `problem` is in words, for a source that could not be asked (`why`).

    `measured_at` is the time of evidence that was made earlier; `commit` that on which it was made.
    """

    value: float | None = None
    total: int | None = None
    bad: int | None = None
    measured_at: datetime | None = None
    commit: str = ""
    why: Why | None = None
    problem: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True)
class Exemption:
    """A waiver, or the statement that a criterion does not apply, by a named person."""

    outcome: Outcome
    reason: str
    by: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of one criterion. `interval` and `is_shown` are those of a share."""

    criterion: Criterion
    outcome: Outcome
    measurement: Measurement
    why: Why | None = None
    reason: str = ""
    interval: tuple[float, float] | None = None
    is_shown: bool | None = None
    needed: int | None = None
    exemption: Exemption | None = None

    @property
    def is_open(self) -> bool:
        """Whether this keeps a gate closed."""
        return self.outcome in OPEN


def judge(
    criterion: Criterion, measured: Measurement, at: datetime, commit: str = "",
    exemption: Exemption | None = None,
) -> Judgement:  # fmt: skip
    """Judge what was measured at `at`, on the installed `commit` (empty: unknown).

    An exemption counts only for what did not pass, and a waiver only until its end.
    """
    judgement = _judge(criterion, measured, at, commit)
    if exemption is None or not judgement.is_open or (exemption.until and exemption.until < at):
        return judgement
    return Judgement(
        criterion, exemption.outcome, measured, judgement.why, judgement.reason, judgement.interval,
        judgement.is_shown, judgement.needed, exemption,
    )  # fmt: skip


def _judge(criterion: Criterion, measured: Measurement, at: datetime, commit: str) -> Judgement:
    def inconclusive(why: Why, reason: str) -> Judgement:
        return Judgement(criterion, Outcome.INCONCLUSIVE, measured, why, reason)

    if measured.why is not None:
        return inconclusive(measured.why, measured.problem)
    if measured.value is None or not isfinite(measured.value):
        return inconclusive(Why.NO_DATA, measured.problem or "There is no value.")
    if criterion.min_samples and (measured.total is None or measured.total < criterion.min_samples):
        found = 0 if measured.total is None else measured.total
        return inconclusive(Why.TOO_FEW, f"{found} cases; at least {criterion.min_samples} are needed.")
    if criterion.max_age and measured.measured_at and at - measured.measured_at > criterion.max_age:
        days = (at - measured.measured_at).total_seconds() / 86_400
        allowed = criterion.max_age.total_seconds() / 86_400
        return inconclusive(Why.STALE, f"It is {days:.1f} days old; at most {allowed:g} are allowed.")
    if criterion.same_commit and commit and measured.commit != commit:
        made_on = measured.commit[:12] or "an unknown commit"
        return inconclusive(Why.STALE, f"It was made on {made_on}, installed is {commit[:12]}.")
    outcome = Outcome.PASS if criterion.is_met_by(measured.value) else Outcome.FAIL
    return _with_interval(criterion, measured, outcome)


def _with_interval(criterion: Criterion, measured: Measurement, outcome: Outcome) -> Judgement:
    limit, total, bad = criterion.bad_limit, measured.total, measured.bad
    if limit is None or not total or bad is None:
        return Judgement(criterion, outcome, measured)
    is_upward = criterion.operator in (">=", ">")
    interval = wilson_interval(total - bad if is_upward else bad, total)
    is_shown = is_shown_below(bad, total, limit) if 0 < limit < 1 else None
    needed = needed_without_bad(limit) if is_shown is False else None
    return Judgement(
        criterion, outcome, measured, interval=interval, is_shown=is_shown, needed=needed
    )
