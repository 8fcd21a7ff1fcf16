"""Evaluate a gate of a wave, or a part of the checklist: every criterion that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ops.golive.criterion import WAVES, Criterion, Part
from ops.golive.judgement import Exemption, Judgement, Outcome, Why, judge
from ops.golive.measuring import Probe, Sources, measure
from ops.golive.records import Kind, Record, newest


@dataclass(frozen=True, slots=True)
class Before:
    """The gate of the wave before: whether it was open when the wave began, and what is known of that."""

    wave: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was looked at (a wave or a part of the checklist), when, and the judgement of each criterion."""

    subject: str
    at: datetime
    commit: str
    judgements: tuple[Judgement, ...]
    before: Before | None = None

    @property
    def is_open(self) -> bool:
        """Whether all of it, and the gate before it, is pass, waived or not applicable."""
        is_before_open = self.before is None or self.before.outcome is Outcome.PASS
        return is_before_open and not any(each.is_blocking for each in self.judgements)

    @property
    def is_unreachable(self) -> bool:
        """Whether only services that do not answer keep the gate closed."""
        blocking = [each for each in self.judgements if each.is_blocking]
        is_before_open = self.before is None or self.before.outcome is Outcome.PASS
        return is_before_open and bool(blocking) and all(each.why is Why.SOURCE_DOWN for each in blocking)

    def count(self, outcome: Outcome) -> int:
        """Return how many criteria have this outcome."""
        return sum(each.outcome is outcome for each in self.judgements)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an evaluation reads: the sources, the records of people, the installed commit, the probes."""

    sources: Sources
    records: tuple[Record, ...]
    commit: str
    probes: Mapping[str, Probe]


def evaluate(
    subject: str, criteria: Sequence[Criterion], inputs: Inputs, at: datetime, wave: str | None = None
) -> Evaluation:
    """Measure and judge each of the criteria at `at`; `wave` is that of the window `wave`."""
    judgements = []
    for criterion in criteria:
        measured = measure(criterion, inputs.sources, inputs.records, at, wave, inputs.probes)
        exemption = exemption_of(criterion, inputs.records, at)
        judgements.append(judge(criterion, measured, at, inputs.commit, exemption))
    return Evaluation(subject, at, inputs.commit, tuple(judgements))


def evaluate_gate(
    wave: str, criteria: Sequence[Criterion], inputs: Inputs, at: datetime, before: Before | None
) -> Evaluation:
    """Evaluate the gate of a wave; `before` is what `gate_before` says."""
    needed = [criterion for criterion in criteria if wave in criterion.waves]
    found = evaluate(wave, needed, inputs, at, wave)
    return Evaluation(wave, at, inputs.commit, found.judgements, before)


def exemption_of(criterion: Criterion, records: tuple[Record, ...], at: datetime) -> Exemption | None:
    """Return the newest waiver of a criterion, or the statement that it does not apply."""
    kinds = {Kind.WAIVE: Outcome.WAIVED, Kind.NOT_APPLICABLE: Outcome.NOT_APPLICABLE}
    found = [record for kind in kinds if (record := newest(records, kind, criterion.id, at))]
    if not found:
        return None
    stated = max(found, key=lambda each: each.number).statement
    return Exemption(kinds[stated.kind], stated.reason, stated.by, stated.until)


def wave_before(wave: str) -> str | None:
    """Return the wave before; None for the first."""
    return WAVES[WAVES.index(wave) - 1] if wave != WAVES[0] else None


def criteria_of(part: Part, criteria: Sequence[Criterion]) -> list[Criterion]:
    """Return the criteria of one part of the checklist."""
    return [criterion for criterion in criteria if criterion.part is part]
