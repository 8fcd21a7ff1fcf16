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
from ops.output import KEPT_SPACE, MAX_NAMED, escape_unseen, first, times

FORMAT = 2
"""The version of the document; it changes when a reader of the old one would be wrong."""
ROWS, FOOTER_ROWS = 23, 2
"""Of a terminal with 24 rows; the last one is the prompt's."""
MAX_OF_CHECK = 3
"""So many findings of one check are shown without `--all`."""
LEVEL_COLUMNS, NAME_COLUMNS = 8, 15
INDENTATION = " " * (LEVEL_COLUMNS + NAME_COLUMNS)
COMMAND = re.compile(r"(?:^|(?<=[:;] )|(?<=then ))leads [^;,]+")
"""A call of leads, up to what ends it within a sentence."""
UNBROKEN = re.compile(rf"{COMMAND.pattern}|psql(?: -[hpd] \S+)* (?:-c '\w+|-f \S+)")
"""What is not wrapped, for it may be copied: calls of leads, and of psql the words before its statement."""
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
    """Leave out what was asked for the sake of others only, and is the cause of none of them.

    First stands the result of the last leads.
    """
    causes = {found.because_of for each in results if each.is_wanted for found in each.findings}
    kept = [each for each in results if each.is_wanted or each.check.id in causes]
    return sorted(kept, key=lambda each: not each.check.is_result)


def print_look(
    results: Sequence[Result], console: Console, fine: str, *, shows_all: bool = True
) -> None:  # fmt: skip
    """Print the level with its cause, then each finding; without `shows_all` what fits in ROWS."""
    results = shown(results)
    level, cause = worst(results), find_cause(results)
    text = fine if cause is None else f"{cause[0].name}: {cause[1].text}"
    headline = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {level.word.upper()}  {text}"
    wrapped = fill(escape_unseen(headline), LINE_LENGTH, subsequent_indent="  ", break_on_hyphens=False)
    console.print(Text(wrapped, STYLES[level]), soft_wrap=True)
    console.print()
    rows = ROWS - len(wrapped.splitlines()) - 1
    for line in _all_lines(results) if shows_all else _short_lines(results, rows):
        console.print(line, soft_wrap=True)


def _all_lines(results: Sequence[Result]) -> Iterator[Text]:
    """Yield each finding with what helps; below a cause what it explains, without advice."""
    printed = {each.check.id for each in results}
    for each in results:
        if own := [found for found in each.findings if found.because_of not in printed]:
            yield from _lines_of(each, own)
            yield from _consequences(each.check.id, results)


def _short_lines(results: Sequence[Result], rows: int) -> list[Text]:
    """Return the result of the last leads and the worst findings with what helps; the rest is counted."""
    printed = {each.check.id for each in results}
    lines: list[Text] = []
    blocks: list[tuple[Level, list[Text]]] = []
    for each in results:
        bad = [found for found in each.findings if found.level > Level.UNKNOWN]
        own = [found for found in bad if found.because_of not in printed]
        if own:
            block = list(_lines_of(each, own[:MAX_OF_CHECK], is_short=True))
            more = len(own) - MAX_OF_CHECK
            block += [Text(f"{INDENTATION}and {more} more")] * (more > 0)
            blocks.append((each.level, [*block, *_consequences(each.check.id, results, is_short=True)]))
        elif each.check.is_result:
            found = each.findings[0]
            if found.level is Level.UNKNOWN and found.because_of:
                found = replace(found, text=f"because of {found.because_of}")
            lines += _head(each.name, found)
    blocks.sort(key=lambda pair: -pair[0])
    left = 0
    for number, (_, block) in enumerate(blocks):
        if number and len(lines) + len(block) + FOOTER_ROWS > rows:
            left += 1
        else:
            lines += block[: rows - len(lines) - FOOTER_ROWS]
    return [*lines, *_footer(results, left)]


def _footer(results: Sequence[Result], left: int) -> list[Text]:
    """Say what is not shown: findings that do not fit, what is not known by itself, what is green."""
    more = [f"{left} more to look at"] if left else []
    unknown = [
        each.name
        for each in results
        if any(found.level is Level.UNKNOWN and not found.because_of for found in each.findings)
    ]
    if unknown:
        more.append(f"not known: {first(unknown)}")
    green = sum(each.level is Level.GREEN for each in results)
    text = "; ".join([*more, f"{times(green, 'check')} green"])
    return [Text(line, "dim") for line in _wrapped(f"{text}. All of them: --all", LINE_LENGTH)][:FOOTER_ROWS]


def _head(name: str, found: Finding, *, is_short: bool = False) -> list[Text]:
    """Return the lines with the level, the name and the text; in short form the first line of the text."""
    text = found.text.partition("\n")[0] if is_short else found.text
    first_line, *more = list(_wrapped(text, LINE_LENGTH - len(INDENTATION))) or [""]
    head = Text(f"{found.level.word:<{LEVEL_COLUMNS}}", STYLES[found.level])
    head.append(f"{name:<{NAME_COLUMNS}}{first_line}".rstrip(), "default")
    return [head, *(Text(INDENTATION + line) for line in more)]


def _lines_of(result: Result, findings: Sequence[Finding], *, is_short: bool = False) -> Iterator[Text]:
    """Yield findings; those that are not green with what helps, once if it is the same, then the runbook."""
    for found, following in zip_longest(findings, findings[1:]):
        yield from _head(result.name, found, is_short=is_short)
        if found.level > Level.UNKNOWN:
            is_same = following is not None and following.cure == found.cure
            runbook = result.check.runbook if following is None else ""
            yield from _advice("" if is_same else found.cure, runbook, len(INDENTATION))


def describe(found: Finding) -> str:
    """Return a finding with what helps, as a part of a message."""
    return f"{found.text}. {found.cure}" if found.cure else found.text


def print_advice(cure: str, runbook: str, indentation: int, console: Console) -> None:
    for line in _advice(cure, runbook, indentation):
        console.print(line, soft_wrap=True)


def _advice(cure: str, runbook: str, indentation: int) -> Iterator[Text]:
    width = LINE_LENGTH - indentation - 2

    def keep(found: re.Match[str]) -> str:
        # A shell would run the first line of `psql -f`; a statement may have line breaks.
        is_kept = len(found[0]) <= width or " -f " in found[0]
        return found[0].replace(" ", KEPT_SPACE) if is_kept else found[0]

    kept = UNBROKEN.sub(keep, cure)
    for number, text in enumerate(_wrapped(kept, width, may_break=False)):
        line = f"{'  ' if number else '→ '}{text.replace(KEPT_SPACE, ' ')}"
        yield Text(" " * indentation + line, "bold")
    if runbook:
        yield Text(f"{' ' * indentation}  {runbook}", "dim")


def _consequences(cause: str, results: Sequence[Result], *, is_short: bool = False) -> Iterator[Text]:
    """Name what a cause explains: what is bad with its text, what is not known by its names alone.

    In short form it has no texts, and of many names the number; the result of the last leads stands above.
    """
    explained = [
        (each, found)
        for each in results
        for found in each.findings
        if found.because_of == cause and not (is_short and each.check.is_result)
    ]
    lines = [
        f"so {found.level.word}: {each.name}{'' if is_short else f': {found.text}'}"
        for each, found in explained
        if found.level is not Level.UNKNOWN
    ]
    names = list(dict.fromkeys(each.name for each, found in explained if found.level is Level.UNKNOWN))
    if names:
        of_all = f"{len(names)} checks" if is_short and len(names) > MAX_NAMED else ", ".join(names)
        lines.append(f"so not known: {of_all}")
    for line in dict.fromkeys(lines):
        start, *more = list(_wrapped(line, LINE_LENGTH - len(INDENTATION) - 2))
        yield Text(INDENTATION + start)
        yield from (Text(f"{INDENTATION}  {each}") for each in more)


def _wrapped(text: str, columns: int, *, may_break: bool = True) -> Iterator[str]:
    for line in escape_unseen(text).splitlines():
        yield from wrap(line, columns, break_on_hyphens=False, break_long_words=may_break)
