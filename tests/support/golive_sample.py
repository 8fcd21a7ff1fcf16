"""A made-up evaluation of gate W2 with every outcome, for the sample report in the documentation."""

from datetime import UTC, datetime, timedelta

from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.daily import DAY, FIGURES, days_between, drawn
from leads.cli.golive.gates import Before, Evaluation
from leads.cli.golive.html_page import Figure
from leads.cli.golive.judgement import Exemption, Judgement, Measurement, Outcome, Why, judge
from leads.cli.golive.load import load_criteria
from leads.cli.golive.record import Evidence, Kind, Record, Statement
from leads.services.kpi import KpiName

BEGAN = datetime(2026, 6, 4, 2, tzinfo=UTC)
AT = BEGAN + timedelta(days=14)
COMMIT = "6fc3e78f1c0a5b7d9e2f4a6b8c0d1e2f3a4b5c6d"
LEADS, FAILED = 412, 1
VALUES: dict[KpiName, list[float | None]] = {
    KpiName.SUCCESS: [1, 1, 0.967, 1, 1, 1, 1, 1, 0.98, 1, 1, 1, 1, 1],
    KpiName.LATENCY: [1.4, 1.2, 1.9, 1.3, 1.1, None, 1.2, 1.6, 2.4, 1.3, 1.2, 1.1, 1.3, 1.2],
    KpiName.AUTO_ASSIGN: [0.81, 0.84, 0.88, 0.9, 0.87, None, 0.93, 0.9, 0.92, 0.94, 0.91, 0.95, 0.93, 0.94],
    KpiName.INTERVENTION: [0.19, 0.16, 0.12, 0.1, 0.13, None, 0.07, 0.1, 0.08, 0.06, 0.09, 0.05, 0.07, 0.06],
    KpiName.RESPONSE: [2400, 1980, 1500, 1320, 1410, None, 1200, 1140, 1260, 1080, 1020, 1110, 990, 960],
    KpiName.ZERO_MISS: [0.0] * 14,
}


def _measured(criterion: Criterion) -> Measurement:
    """A value on the target's right side; some criteria have another result."""
    match criterion.id:
        case "success-rate":
            return Measurement((LEADS - FAILED) / LEADS, LEADS, FAILED)
        case "intervention-W2":
            return Measurement(0.231, 156, 36)
        case "telesales-survey-W2":
            return Measurement(4.4, 4)
        case "G-7":
            return Measurement(why=Why.SOURCE_DOWN, problem="Prometheus at prometheus does not answer")
        case "replay-W2":
            return Measurement(0.0)
        case "G-6":
            return Measurement(why=Why.NO_DATA, problem="Not attested yet: leads golive attest G-6")
    value = {"<": criterion.target / 4, ">": 95.0}.get(criterion.operator, criterion.target)
    if criterion.good or criterion.bad:
        cases = 18 if criterion.source is Source.FILE else LEADS
        return Measurement(1.0 if criterion.operator == ">=" else 0.0, cases, 0, commit=COMMIT)
    return Measurement(value, criterion.min_samples or None, commit=COMMIT)


def _exemption(criterion: Criterion) -> Exemption | None:
    if criterion.id == "G-6":
        return Exemption(Outcome.WAIVED, "staging chưa có URL công khai", "Trần Hoa", AT + timedelta(days=20))
    if criterion.id == "replay-W2":
        return Exemption(Outcome.NOT_APPLICABLE, "chưa có dead letter nào", "Lê Minh")
    return None


def _judged(criterion: Criterion) -> Judgement:
    return judge(criterion, _measured(criterion), AT, COMMIT, _exemption(criterion))


def sample_evaluation() -> Evaluation:
    """Return the evaluation."""
    judgements = tuple(_judged(each) for each in load_criteria() if "W2" in each.waves)
    before = Before("W1", Outcome.PASS, "It was open when W2 began, 2026-06-11 02:00 UTC.")
    return Evaluation("W2", AT, COMMIT, judgements, before)


def sample_figures() -> list[Figure]:
    """Draw the key figures of fourteen days."""
    days = days_between(BEGAN, AT)
    return [
        drawn(figure, days, [
            (start + (end - start) / 2, value)
            for (start, end), value in zip(days, [*VALUES[figure.statement], None], strict=True)
        ])
        for figure in FIGURES
    ]  # fmt: skip


def sample_records() -> list[Record]:
    """Return two records."""
    survey = next(each for each in load_criteria() if each.id == "telesales-survey-W2")
    assert survey.source is Source.PERSON
    begin = Statement(Kind.BEGIN, "W2", "Nguyễn Lan", "lan", BEGAN + 7 * DAY)
    attest = Statement(Kind.ATTEST, survey.id, "Nguyễn Lan", "lan", AT - DAY, value=4.4, cases=4)
    first = Record(1, begin, (Evidence("gate-W1.json", "5d" * 32, 18_233),))
    return [first, Record(2, attest, (Evidence("khao-sat.xlsx", "a1" * 32, 9_120),), first.sha256())]
