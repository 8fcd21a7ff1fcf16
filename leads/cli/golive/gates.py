"""Evaluate a gate of a wave: every criterion that it needs, and the gate before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from leads.cli.golive.criterion import WAVES, Criterion, Part
from leads.cli.golive.judgement import Exemption, Judgement, Outcome, judge
from leads.cli.golive.measuring import Probe, Sources, measure
from leads.cli.golive.records import Kind, Record, newest


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was looked at (a wave or a part of the checklist), when, and the judgement of each criterion."""

    subject: str
    at: datetime
    judgements: tuple[Judgement, ...]
    before: "Evaluation | None" = None
    """The gate that must be open before this one."""

    @property
    def is_open(self) -> bool:
        """Whether all of it, and the gate before it, is pass, waived or not applicable."""
        return not any(each.is_open for each in self.judgements) and (
            self.before is None or self.before.is_open
        )

    def count(self, outcome: Outcome) -> int:
        """Return how many criteria have this outcome."""
        return sum(each.outcome is outcome for each in self.judgements)


def evaluate(
    subject: str, criteria: Sequence[Criterion], sources: Sources, records: tuple[Record, ...],
    at: datetime, probes: Mapping[str, Probe], wave: str | None = None, commit: str = "",
) -> Evaluation:  # fmt: skip
    """Measure and judge each of the criteria."""
    judgements = tuple(
        judge(
            criterion, measure(criterion, sources, records, at, wave, probes), at, commit,
            exemption_of(criterion, records, at),
        )
        for criterion in criteria
    )  # fmt: skip
    return Evaluation(subject, at, judgements)


def evaluate_gate(
    wave: str, criteria: Sequence[Criterion], sources: Sources, records: tuple[Record, ...], at: datetime,
    probes: Mapping[str, Probe], commit: str = "",
) -> Evaluation:  # fmt: skip
    """Evaluate the gate of a wave, with those of the waves before it."""
    before = None
    for each in WAVES[: WAVES.index(wave) + 1]:
        needed = [criterion for criterion in criteria if each in criterion.waves]
        found = evaluate(each, needed, sources, records, _end(each, wave, at, records), probes, each, commit)
        before = Evaluation(each, found.at, found.judgements, before)
    assert before is not None
    return before


def _end(wave: str, asked: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """A wave that is over is judged by its own time: until the next one began."""
    if wave == asked:
        return at
    following = newest(records, Kind.BEGIN, WAVES[WAVES.index(wave) + 1], at)
    return following.at if following else at


def exemption_of(criterion: Criterion, records: tuple[Record, ...], at: datetime) -> Exemption | None:
    """Return the newest waiver of a criterion, or the statement that it does not apply."""
    found = [
        record for kind in (Kind.WAIVE, Kind.NOT_APPLICABLE)
        if (record := newest(records, kind, criterion.id, at))
    ]  # fmt: skip
    if not found:
        return None
    record = max(found, key=lambda each: each.number)
    outcome = Outcome.WAIVED if record.kind is Kind.WAIVE else Outcome.NOT_APPLICABLE
    return Exemption(outcome, record.reason, record.by, record.until)


def criteria_of(part: Part, criteria: Sequence[Criterion]) -> list[Criterion]:
    """Return the criteria of one part of the checklist."""
    return [criterion for criterion in criteria if criterion.part is part]
