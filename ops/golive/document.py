"""An evaluation as a JSON document, and as it is read again."""

from datetime import UTC, datetime
from typing import Any

from ops.golive.gates import Evaluation
from ops.golive.judgement import Judgement, Outcome

FORMAT = 1
"""The version of the document; it changes when a reader of the old one would be wrong."""


def evaluation_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON values; times are ISO 8601 in UTC, shares from 0 to 1."""
    before = evaluation.before
    return {
        "format": FORMAT,
        "subject": evaluation.subject,
        "at": _text(evaluation.at),
        "commit": evaluation.commit,
        "is_open": evaluation.is_open,
        "counts": {outcome.value: evaluation.count(outcome) for outcome in Outcome},
        "before": before and {"gate": before.wave, "outcome": before.outcome, "reason": before.reason},
        "criteria": [_criterion_document(each) for each in evaluation.judgements],
    }


def _criterion_document(judgement: Judgement) -> dict[str, Any]:
    criterion, measured = judgement.criterion, judgement.measurement
    exemption = judgement.exemption
    return {
        "id": criterion.id,
        "lines": list(criterion.lines),
        "title": {"vi": criterion.title_vi, "en": criterion.title_en},
        "source": criterion.source,
        "outcome": judgement.outcome,
        "why": judgement.why,
        "reason": judgement.reason,
        "value": measured.value,
        "operator": criterion.operator,
        "target": criterion.target,
        "unit": criterion.unit,
        "cases": measured.total,
        "bad": measured.bad,
        "interval": judgement.interval and list(judgement.interval),
        "is_shown": judgement.is_shown,
        "needed": judgement.needed,
        "since": _text(measured.since),
        "until": _text(measured.until),
        "measured_at": _text(measured.measured_at),
        "measured_commit": measured.commit,
        "details": measured.details,
        "exemption": exemption
        and {"reason": exemption.reason, "by": exemption.by, "until": _text(exemption.until)},
        "owner": criterion.owner,
        "remediation": criterion.remediation,
        "runbook": criterion.runbook,
    }


def _text(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat() if time else None
