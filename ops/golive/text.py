"""Criteria and evaluations in words: for the terminal, within 80 columns, and for the report."""

from datetime import UTC, datetime
from typing import NamedTuple

from rich.console import Console

from ops.golive.criterion import WAVES, Criterion
from ops.golive.gates import Evaluation
from ops.golive.judgement import Judgement, Outcome
from ops.output import print_in_column

COLUMN = 14


class Word(NamedTuple):
    """An outcome on the terminal, and in the report as a sign and in two languages."""

    terminal: str
    sign: str
    vi: str
    en: str


WORDS = {
    Outcome.FAIL: Word("FAIL", "✗", "Không đạt", "Fail"),
    Outcome.INCONCLUSIVE: Word("INCONCLUSIVE", "?", "Chưa kết luận", "Inconclusive"),
    Outcome.WAIVED: Word("waived", "!", "Được miễn", "Waived"),
    Outcome.NOT_APPLICABLE: Word("n/a", "–", "Không áp dụng", "Not applicable"),
    Outcome.PASS: Word("pass", "✓", "Đạt", "Pass"),
}
"""In the order in which outcomes are shown."""


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print what keeps the gate closed first, with what to do, then the rest in a line each."""
    is_gate = evaluation.subject in WAVES
    fine, bad = ("open", "CLOSED") if is_gate else ("passed", "NOT PASSED")
    title = f"Gate {evaluation.subject}" if is_gate else evaluation.subject.capitalize()
    state = fine if evaluation.is_open else bad
    commit = evaluation.commit[:12] or "unknown"
    console.print(f"{title}: {state}, {time_text(evaluation.at)}, commit {commit}")
    counts = [f"{evaluation.count(outcome)} {word.terminal.lower()}" for outcome, word in WORDS.items()]
    console.print(", ".join(counts))
    if before := evaluation.before:
        text = f"The gate of wave {before.wave}. {before.reason}"
        print_in_column(WORDS[before.outcome].terminal.ljust(COLUMN), text, console)
    for outcome in WORDS:
        for judgement in evaluation.judgements:
            if judgement.outcome is outcome:
                _print_judgement(judgement, console)


def _print_judgement(judgement: Judgement, console: Console) -> None:
    criterion = judgement.criterion
    head = f"{criterion.id}: {criterion.title_en}"
    print_in_column(WORDS[judgement.outcome].terminal.ljust(COLUMN), head, console)
    for text in (finding(judgement), note(judgement)):
        if text:
            print_in_column(" " * COLUMN, text, console)
    if judgement.is_blocking:
        print_in_column(" " * COLUMN, f"→ {criterion.owner}: {criterion.remediation}", console)


def finding(judgement: Judgement) -> str:
    """Return what was measured and the target, in a line."""
    criterion, measured = judgement.criterion, judgement.measurement
    target = f"target {criterion.shown_target}"
    if judgement.why is not None:
        return f"{judgement.why}: {judgement.reason} ({target})"
    parts = [criterion.shown(measured.value)]
    if measured.total is not None:
        parts.append(f"of {measured.total}" if judgement.interval else f"(n = {measured.total})")
    if judgement.interval is not None:
        low, high = judgement.interval
        parts.append(f"(95 %: {low:.1%} to {high:.1%})")
    text = f"{' '.join(parts)}, {target}"
    return f"{text}; {measured.details}" if measured.details else text


def note(judgement: Judgement) -> str:
    """Return what a reader has to know beside the figure; empty if there is nothing."""
    if exemption := judgement.exemption:
        until = f" until {time_text(exemption.until)}" if exemption.until else ""
        return f"by {exemption.by}{until}: {exemption.reason}"
    if judgement.is_shown is False:
        return f"Met, but not yet shown: {judgement.needed} cases are needed, if no further one is bad."
    return ""


def print_criterion(criterion: Criterion, console: Console) -> None:
    """Print a criterion of the list."""
    print_in_column(f"{criterion.id:<25} ", f"{criterion.title_en} ({criterion.shown_target})", console)
    places = f"{' '.join(criterion.parts)}; {criterion.source}; {', '.join(criterion.lines)}"
    print_in_column(" " * 26, places, console)


def time_text(time: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
