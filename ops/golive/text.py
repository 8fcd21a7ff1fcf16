"""Criteria and evaluations on a terminal, within 80 columns."""

from datetime import UTC, datetime

from rich.console import Console

from ops.golive.criterion import WAVES, Criterion
from ops.golive.gates import Evaluation
from ops.golive.judgement import Judgement, Outcome
from ops.output import print_in_column

COLUMN = 14
ORDER = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.WAIVED, Outcome.NOT_APPLICABLE, Outcome.PASS)
WORDS = {
    Outcome.FAIL: "FAIL",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.WAIVED: "waived",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.PASS: "pass",
}
SIGNS = {">=": "≥", "<=": "≤"}


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print what keeps the gate closed first, with what to do, then the rest in a line each."""
    is_gate = evaluation.subject in WAVES
    fine, bad = ("open", "CLOSED") if is_gate else ("passed", "NOT PASSED")
    title = f"Gate {evaluation.subject}" if is_gate else evaluation.subject.capitalize()
    state = fine if evaluation.is_open else bad
    commit = evaluation.commit[:12] or "unknown"
    print_line = console.print
    print_line(f"{title}: {state}, {time_text(evaluation.at)}, commit {commit}")
    counts = [f"{evaluation.count(outcome)} {WORDS[outcome].lower()}" for outcome in ORDER]
    print_line(", ".join(counts))
    if evaluation.before is not None:
        before = evaluation.before
        text = f"The gate of wave {before.wave}. {before.reason}"
        print_in_column(WORDS[before.outcome].ljust(COLUMN), text, console)
    for outcome in ORDER:
        for judgement in evaluation.judgements:
            if judgement.outcome is outcome:
                _print_judgement(judgement, console)


def _print_judgement(judgement: Judgement, console: Console) -> None:
    criterion = judgement.criterion
    head = f"{criterion.id}: {criterion.title_en}"
    print_in_column(WORDS[judgement.outcome].ljust(COLUMN), head, console)
    for text in (finding(judgement), note(judgement)):
        if text:
            print_in_column(" " * COLUMN, text, console)
    if judgement.is_blocking:
        print_in_column(" " * COLUMN, f"→ {criterion.owner}: {criterion.remediation}", console)


def finding(judgement: Judgement) -> str:
    """Return what was measured and the target, in a line."""
    criterion, measured = judgement.criterion, judgement.measurement
    target = f"target {sign(criterion.operator)} {number(criterion.target, criterion)}"
    if judgement.why is not None:
        return f"{judgement.why}: {judgement.reason} ({target})"
    parts = [number(measured.value, criterion)]
    if measured.total is not None:
        parts.append(f"of {measured.total}" if judgement.interval else f"(n = {measured.total})")
    if judgement.interval is not None:
        low, high = judgement.interval
        parts.append(f"(95 %: {low:.1%} to {high:.1%})")
    text = f"{' '.join(parts)}, {target}"
    return f"{text}; {measured.details}" if measured.details else text


def note(judgement: Judgement) -> str:
    """Return what a reader has to know beside the figure; empty if there is nothing."""
    exemption = judgement.exemption
    if exemption is not None:
        until = f" until {time_text(exemption.until)}" if exemption.until else ""
        return f"by {exemption.by}{until}: {exemption.reason}"
    if judgement.is_shown is False:
        return f"Met, but not yet shown: {judgement.needed} cases are needed, if no further one is bad."
    return ""


def print_criterion(criterion: Criterion, console: Console) -> None:
    """Print a criterion of the list."""
    target = f"{sign(criterion.operator)} {number(criterion.target, criterion)}"
    where = " ".join(criterion.waves) or criterion.part
    print_in_column(f"{criterion.id:<25} ", f"{criterion.title_en} ({target})", console)
    print_in_column(" " * 26, f"{where}; {criterion.source}; {', '.join(criterion.lines)}", console)


def number(value: float | None, criterion: Criterion) -> str:
    """Return a value with its unit; a share as a percentage."""
    if value is None:
        return "no value"
    if criterion.unit == "share":
        return f"{value * 100:.4g} %"
    if criterion.unit == "version":
        return f"{criterion.unit} {value:.0f}"
    shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
    return f"{shown} {criterion.unit}".strip()


def sign(operator: str) -> str:
    """Return an operator as people write it."""
    return SIGNS.get(operator, operator)


def time_text(time: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
