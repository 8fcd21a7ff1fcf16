"""A look on the screen, at 80 columns, and as one JSON document."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import zip_longest
from textwrap import fill, wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from ops.checks.model import Check, Finding, Level, Result, find_cause, worst
from ops.failures import LINE_LENGTH
from ops.output import KEPT_SPACE, escape_unseen

FORMAT = 2
"""The version of the document; it changes when a reader of the old one would be wrong."""
LEVEL_COLUMNS = 8
NAME_COLUMNS = 15
# A call of leads, up to what ends it within a sentence.
_COMMAND = re.compile(r"(?:^|(?<=[:;] )|(?<=then ))leads [^;,]+")
STYLES = {Level.GREEN: "green", Level.YELLOW: "yellow", Level.RED: "bold red", Level.UNKNOWN: "dim"}


def document(results: Sequence[Result], **more: Any) -> dict[str, Any]:
    """Return a look for programs: its level and cause, then every finding."""
    cause = find_cause(results)
    return {
        "format": FORMAT,
        **more,
        "at": datetime.now(UTC),
        "level": worst(shown(results)).word,
        "cause": cause and finding_document(cause[0].check, cause[1]),
        "findings": finding_documents(shown(results)),
    }


def finding_documents(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return what checks found as JSON values."""
    return [finding_document(each.check, found) for each in results for found in each.findings]


def finding_document(check: Check, found: Finding) -> dict[str, Any]:
    """Return a finding as JSON values: the same in every document that has findings."""
    return {
        "check": check.id,
        "question": check.question,
        "about": found.about,
        "level": found.level.word,
        "text": found.text,
        "because_of": found.because_of,
        "cure": found.cure,
        "runbook": check.runbook,
        "login": check.login,
        "is_symptom": check.is_symptom,
    }


def shown(results: Sequence[Result]) -> list[Result]:
    """Leave out what was asked for the sake of others only, and is the cause of none of them."""
    causes = {found.because_of for each in results if each.is_wanted for found in each.findings}
    return [each for each in results if each.is_wanted or each.check.id in causes]


def print_look(results: Sequence[Result], console: Console, fine: str) -> None:
    """Print the level with its cause, then a line for each finding."""
    results = shown(results)
    level, cause = worst(results), find_cause(results)
    text = fine if cause is None else f"{cause[0].name}: {cause[1].text}"
    headline = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {level.word.upper()}  {text}"
    wrapped = fill(escape_unseen(headline), LINE_LENGTH, subsequent_indent="  ", break_on_hyphens=False)
    console.print(Text(wrapped, STYLES[level]), soft_wrap=True)
    console.print()
    print_findings(results, console)


def print_findings(results: Sequence[Result], console: Console) -> None:
    """Print each finding with what helps; below a cause what it explains, without advice."""
    printed = {each.check.id for each in results}
    for each in results:
        own = [found for found in each.findings if found.because_of not in printed]
        for found, following in zip_longest(own, own[1:]):
            # What helps several of them stands once, behind the last.
            is_same = following is not None and following.cure == found.cure
            shown_found = replace(found, cure="") if is_same else found
            print_finding(each.name, shown_found, each.check, console, is_last=following is None)
        if own:
            _print_consequences(each.check.id, results, console)


def print_finding(
    name: str, found: Finding, check: Check, console: Console, *, is_last: bool = True
) -> None:  # fmt: skip
    """Print a finding; if it is not green also the cure, and behind the last one the runbook."""
    indentation = LEVEL_COLUMNS + NAME_COLUMNS
    first, *more = list(_wrapped(found.text, LINE_LENGTH - indentation)) or [""]
    head = Text(f"{found.level.word:<{LEVEL_COLUMNS}}", STYLES[found.level])
    head.append(f"{name:<{NAME_COLUMNS}}{first}".rstrip(), "default")
    console.print(head, soft_wrap=True)
    _print_lines(more, indentation, console)
    if found.level > Level.UNKNOWN:
        print_advice(found.cure, check.runbook if is_last else "", indentation, console)


def describe(found: Finding) -> str:
    """Return a finding with what helps, as a part of a message."""
    return f"{found.text}. {found.cure}" if found.cure else found.text


def print_advice(cure: str, runbook: str, indentation: int, console: Console) -> None:
    """Print what helps, and where it is explained. A call of leads is not wrapped: it may be copied."""
    width = LINE_LENGTH - indentation - 2
    kept = _COMMAND.sub(
        lambda found: found[0].replace(" ", KEPT_SPACE) if len(found[0]) <= width else found[0], cure
    )
    for number, text in enumerate(_wrapped(kept, width, may_break=False)):
        line = f"{'  ' if number else '→ '}{text.replace(KEPT_SPACE, ' ')}"
        console.print(Text(" " * indentation + line, "bold"), soft_wrap=True)
    if runbook:
        console.print(Text(f"{' ' * indentation}  {runbook}", "dim"), soft_wrap=True)


def _print_consequences(cause: str, results: Sequence[Result], console: Console) -> None:
    """Name what a cause explains: what is bad with its text, what is not known by its names alone."""
    indentation = LEVEL_COLUMNS + NAME_COLUMNS
    explained = [(each, found) for each in results for found in each.findings if found.because_of == cause]
    lines = [
        f"so {found.level.word}: {each.name}: {found.text}"
        for each, found in explained
        if found.level is not Level.UNKNOWN
    ]
    if unknown := [each.name for each, found in explained if found.level is Level.UNKNOWN]:
        lines.append(f"so not known: {', '.join(dict.fromkeys(unknown))}")
    for line in lines:
        first, *more = list(_wrapped(line, LINE_LENGTH - indentation - 2))
        _print_lines([first, *(f"  {text}" for text in more)], indentation, console)


def _print_lines(lines: Sequence[str], indentation: int, console: Console) -> None:
    for line in lines:
        console.print(Text(" " * indentation + line), soft_wrap=True)


def _wrapped(text: str, columns: int, *, may_break: bool = True) -> Iterator[str]:
    for line in escape_unseen(text).splitlines():
        yield from wrap(line, columns, break_on_hyphens=False, break_long_words=may_break)
