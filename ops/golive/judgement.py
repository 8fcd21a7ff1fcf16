"""Read the value of a file that was handed in, and judge what was measured.

The file decides, not the person. What is no number is inconclusive, never a pass.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from math import exp, isfinite, lgamma, log, sqrt
from operator import eq, ge
from statistics import quantiles
from typing import Any, NamedTuple
from xml.etree import ElementTree

from leads.domain.body import ICT
from ops.checks.model import Finding, Result
from ops.failures import WrongUsage
from ops.golive.criterion import Criterion, Source
from ops.golive.records import CLOCK_TOLERANCE, Kind, Record, Statement

SHORTEST_COMMIT = 7
MAX_WAIVER_DAYS = 180
Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: an interval of 95 %."""
SHOWN_AT = 0.05
"""A limit is shown to be met if chance alone would give so good a count in at most 5 % of all cases."""


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WAIVED = "waived"
    NOT_APPLICABLE = "not_applicable"


EXEMPTIONS = {Kind.WAIVE: Outcome.WAIVED, Kind.NOT_APPLICABLE: Outcome.NOT_APPLICABLE}
"""What a statement of a person makes of a criterion that did not pass."""


class Why(StrEnum):
    """Why a measurement is inconclusive."""

    NO_DATA = "no_data"
    TOO_FEW = "too_few"
    SOURCE_DOWN = "source_down"
    STALE = "stale"


class Notice(NamedTuple):
    """What stands in red in gate and report although it keeps nothing closed; `gate` is an earlier one."""

    vi: str
    en: str
    gate: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a source said of the time from `since` to `until`; `results` are those of checks.

    `problem` says in words why it said nothing (`why`). `total` cases were counted, of which `bad` were bad;
    so long a window needs `needed`. `measured_at` is the time of evidence that was made earlier, `commit`
    that on which it was made, `database` that on which, if it says so; `installed` is the commit that was
    installed when it was handed in.
    """

    value: float | None = None
    total: int | None = None
    bad: int | None = None
    needed: int = 0
    measured_at: datetime | None = None
    commit: str = ""
    installed: str = ""
    database: str = ""
    why: Why | None = None
    problem: str = ""
    details: str = ""
    results: tuple[Result, ...] = ()
    notices: tuple[Notice, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def findings(self) -> list[Finding]:
        return [found for each in self.results for found in each.findings]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of one criterion.

    Of a share also Wilson's 95 % `interval`, whether the target `is_shown` to be met, not only met by chance,
    and how many cases are `needed` to show it, if none of the further ones is bad.
    """

    criterion: Criterion
    outcome: Outcome
    measurement: Measurement
    why: Why | None = None
    reason: str = ""
    interval: tuple[float, float] | None = None
    is_shown: bool | None = None
    needed: int | None = None
    exemption: Record | None = None

    @property
    def is_blocking(self) -> bool:
        """Whether this keeps a gate closed."""
        return self.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)

    @property
    def named(self) -> str:
        return f"{self.criterion.id} ({self.why or self.outcome})"


def judge(
    criterion: Criterion, measured: Measurement, at: datetime, commit: str, exemption: Record | None = None
) -> Judgement:
    """Judge what was measured at `at`, on the installed `commit` (empty: unknown).

    An exemption counts only for what did not pass, with a reason, and until its end, which is at most
    180 days later; where nothing may be waived only for too few cases that meet the target.
    """
    judgement = _judge(criterion, measured, at, commit)
    if exemption is None or not judgement.is_blocking or not _holds(exemption.statement, at):
        return judgement
    is_met = measured.value is not None and criterion.is_met_by(measured.value)
    if not criterion.may_be_waived and not (judgement.why is Why.TOO_FEW and is_met):
        return judgement
    return replace(judgement, outcome=EXEMPTIONS[exemption.kind], exemption=exemption)


def _holds(exemption: Statement, at: datetime) -> bool:
    """Its end is the end of the last day: with it there is one day more than the command allows."""
    until, last = exemption.until, exemption.at + timedelta(days=MAX_WAIVER_DAYS + 1)
    return until is not None and at < until <= last and bool(exemption.reason.strip())


def _judge(criterion: Criterion, measured: Measurement, at: datetime, commit: str) -> Judgement:
    value = measured.value
    if measured.why is None and value is not None and isfinite(value):
        why = _too_few(criterion, measured) or _stale(criterion, measured, at, commit)
        if why is None:
            return _judge_value(criterion, measured, value)
    else:
        why = measured.why or Why.NO_DATA, measured.problem or "There is no value."
    return Judgement(criterion, Outcome.INCONCLUSIVE, measured, *why)


def _judge_value(criterion: Criterion, measured: Measurement, value: float) -> Judgement:
    is_met = criterion.is_met_by(value)
    judgement = Judgement(criterion, Outcome.PASS if is_met else Outcome.FAIL, measured)
    limit, total, bad = criterion.bad_limit, measured.total, measured.bad
    if limit is None or not total or bad is None:
        return judgement
    is_upward = criterion.operator in (">=", ">")
    judgement = replace(judgement, interval=wilson_interval(total - bad if is_upward else bad, total))
    if not is_met or not 0 < limit < 1:
        return judgement
    is_shown = is_shown_below(bad, total, limit)
    return replace(judgement, is_shown=is_shown, needed=None if is_shown else needed_to_show(bad, limit))


def least_cases(criterion: Criterion, measured: Measurement) -> int:
    """Return how many cases are needed at least: of the criterion, or nights and checks that were due."""
    return max(criterion.min_samples or 0, measured.needed)


def _too_few(criterion: Criterion, measured: Measurement) -> tuple[Why, str] | None:
    found, needed = measured.total or 0, least_cases(criterion, measured)
    if found >= needed:
        return None
    text = f"{found} cases; at least {needed} are needed."
    return Why.TOO_FEW, f"{text} {measured.details}".strip()


def _stale(criterion: Criterion, measured: Measurement, at: datetime, commit: str) -> tuple[Why, str] | None:
    text = ""
    if measured.measured_at:
        days = (at - measured.measured_at) / timedelta(days=1)
        if measured.measured_at > at + CLOCK_TOLERANCE:
            text = f"It is dated {measured.measured_at:%Y-%m-%d %H:%M}, after the evaluation."
        elif criterion.max_age_days and days > criterion.max_age_days:
            text = f"It is {days:.1f} days old; at most {criterion.max_age_days} are allowed."
    if not text and criterion.source is Source.FILE and criterion.query != "baseline":
        made_on, installed = measured.commit, measured.installed or commit
        is_same = made_on.startswith(installed) or installed.startswith(made_on)
        if len(installed) < SHORTEST_COMMIT:
            text = "The installed commit is unknown: use the image, or set COMMIT."
        elif len(made_on) < SHORTEST_COMMIT or not is_same:
            text = f"It was made on {made_on[:12] or 'an unknown commit'}, installed is {installed[:12]}."
    return (Why.STALE, text) if text else None


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """Return the bounds of Wilson's 95 % score interval, from 0 to 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    share, square = successes / total, Z95 * Z95
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z95 / (1 + square / total) * sqrt(share * (1 - share) / total + square / (4 * total * total))
    # Rounding would leave the bound of all or nothing a little inside.
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == total else middle + half


def is_shown_below(bad: int, total: int, limit: float) -> bool:
    """Whether `bad` of `total` shows that the true share of bad ones is below `limit`, a share from 0 to 1.

    One-sided exact binomial test. Without any bad one it needs log(0.05) / log(1 - limit) cases: 598 for a
    limit of 0.5 %.
    """
    probability = 0.0
    for found in range(bad + 1):
        probability += exp(
            lgamma(total + 1) - lgamma(found + 1) - lgamma(total - found + 1)
            + found * log(limit) + (total - found) * log(1 - limit)
        )  # fmt: skip
        if probability > SHOWN_AT:
            return False
    return True


def needed_to_show(bad: int, limit: float) -> int:
    """Return how many cases with no more than `bad` bad ones show that their share is below `limit`."""
    least = max(bad + 1, int(bad / limit))  # a share of just the limit shows nothing
    return next(total for total in count(least) if is_shown_below(bad, total, limit))


Reader = Callable[[Criterion, bytes], Measurement]
MAX_ROWS = 1_000_000
WHOLE_SUITE = "the whole suite"
ON_INSTALLATION = ("drill", "smoke")
"""The kinds of results that are made on an installation, and name it."""
BASELINE_DAYS = 7
"""From the day of the first ticket to that of the last, both counted, as the days of Vietnam."""
TWENTIETHS = 20
"""The last of the cut points between them is the 95th percentile."""
NOT_READABLE = (
    KeyError, ValueError, TypeError, AttributeError, ElementTree.ParseError, csv.Error, RecursionError,
)  # fmt: skip


class EvidenceError(WrongUsage):
    """The file is not what the criterion needs; the message says what that is."""


def read_evidence_file(criterion: Criterion, content: bytes) -> Measurement:
    """Return what the file says about a criterion of source `file`. Raises EvidenceError."""
    try:
        return READERS[criterion.query](criterion, content)
    except NOT_READABLE as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise EvidenceError(
            f"The file is no `{criterion.query}` as {criterion.id} needs it: {reason}"
        ) from error


def _test_cases(criterion: Criterion, content: bytes) -> Measurement:
    """The share of passed test cases from `prefix` + `first` to `last`, by the property `test_case` of tests.

    A test case passes if it has a test and each of them passed; a skipped one did not.
    """
    root = _junit_root(content)
    prefix, first, last = (criterion.parameters[name] for name in ("prefix", "first", "last"))
    wanted = [f"{prefix}{number:03}" for number in range(int(first), int(last) + 1)]
    results: dict[str, bool] = {}
    for test in root.iter("testcase"):
        passed = all(test.find(tag) is None for tag in ("failure", "error", "skipped"))
        for each in test.iterfind(".//property[@name='test_case']"):
            if (name := each.get("value", "")) in wanted:
                results[name] = results.get(name, True) and passed
    if not results:
        raise ValueError(f"no test has the mark of {wanted[0]} to {wanted[-1]}")
    found = {
        "failed": [name for name in wanted if results.get(name) is False],
        "without a test": [name for name in wanted if name not in results],
    }
    bad = sum(map(len, found.values()))
    return Measurement(
        value=(len(wanted) - bad) / len(wanted), total=len(wanted), bad=bad,
        commit=_property(root, "commit"), measured_at=_stamp(root),
        details="; ".join(f"{what}: {' '.join(names)}" for what, names in found.items() if names),
    )  # fmt: skip


def _all_tests(criterion: Criterion, content: bytes) -> Measurement:
    """The number of tests of a JUnit file of the whole suite that failed; skipped ones are none."""
    root = _junit_root(content)
    if (part := _property(root, "suite")) != WHOLE_SUITE:
        raise ValueError(f"it is {part or 'a part'}, not {WHOLE_SUITE}: scripts/test --junit FILE, no more")
    tests = list(root.iter("testcase"))
    failed = [test for test in tests if any(test.find(tag) is not None for tag in ("failure", "error"))]
    return Measurement(
        value=float(len(failed)) if tests else None, total=len(tests), commit=_property(root, "commit"),
        measured_at=_stamp(root), details=", ".join(test.get("name", "") for test in failed[:3]),
    )  # fmt: skip


def _junit_root(content: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("a document type is not allowed")
    root = ElementTree.fromstring(content)  # noqa: S314 - entities were refused above
    if root.tag not in ("testsuites", "testsuite"):
        raise ValueError("it is not a JUnit file")
    return root


def _stamp(root: ElementTree.Element) -> datetime:
    """When the run began; a file without a time could be of any age."""
    return _time(next(root.iter("testsuite")).attrib["timestamp"])


def _property(root: ElementTree.Element, name: str) -> str:
    """Return a property of the run, which is one of the suite, not of a test."""
    for suite in root.iter("testsuite"):
        found = suite.find(f"properties/property[@name='{name}']")
        if found is not None:
            return found.get("value", "")
    return ""


def _figures(criterion: Criterion, content: bytes) -> Measurement:
    """A figure of a JSON result of a load test, an outage test or a rollback drill.

    The object has `kind`, `at` (a time with a zone), `commit` and figures. `kind` has to be that of the
    criterion; `exactly` and `at_least` are figures that must be equal or have been reached, `name=number`
    each; `is_true` names a value that must be true.
    """
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("it is not one JSON object")
    wanted = criterion.parameters["kind"]
    if document.get("kind") != wanted:
        raise ValueError(f"its kind is {str(document.get('kind'))[:40]!r}, not {wanted!r}")
    for rule, words, is_kept in (("exactly", "", eq), ("at_least", "at least ", ge)):
        for condition in criterion.parameters.get(rule, "").split():
            name, _, number = condition.partition("=")
            if not is_kept(_number(document, name), float(number)):
                raise ValueError(f"{name} is {document[name]}, {words}{number} is needed")
    condition = criterion.parameters.get("is_true", "")
    if condition and document[condition] is not True:
        raise ValueError(f"{condition} is {document[condition]}, not true")
    return Measurement(
        _number(document, criterion.value), measured_at=_time(document["at"]),
        commit=str(document.get("commit", "")),
        database=str(document["installation"]["database"]) if wanted in ON_INSTALLATION else "",
    )  # fmt: skip


def _number(document: Mapping[str, Any], name: str) -> float:
    """Return a figure; that of a list, for example of lost leads, is its length."""
    value = document[name]
    if isinstance(value, list):
        return float(len(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is no number")
    return float(value)


def _baseline(criterion: Criterion, content: bytes) -> Measurement:
    """The p95 of minutes from `created_at` to `first_response_at`, a CSV of a week before the pilot."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    if missing := {"created_at", "first_response_at"} - set(rows.fieldnames or ()):
        raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    minutes, created = [], []
    for row in rows:
        created.append(_time(row["created_at"]))
        minutes.append((_time(row["first_response_at"]) - created[-1]).total_seconds() / 60)
        if minutes[-1] < 0:
            raise ValueError(f"row {len(minutes)}: the first response is earlier than its ticket")
        if len(minutes) > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS} rows")
    if not created:
        raise ValueError("it has no row")
    first, last = min(created), max(created)
    if (days := (last.astimezone(ICT).date() - first.astimezone(ICT).date()).days + 1) < BASELINE_DAYS:
        raise ValueError(f"it has {days} days from the first ticket to the last, a week is needed")
    return Measurement(value=p95_minutes(minutes), total=len(minutes), since=first, until=last)


def p95_minutes(minutes: Sequence[float]) -> float | None:
    """Return the 95th percentile, as percentile_cont of PostgreSQL; None of fewer than two values."""
    if len(minutes) < 2:
        return None
    return quantiles(minutes, n=TWENTIETHS, method="inclusive")[-1]


def _time(text: Any) -> datetime:
    """Read a time; JUnit writes local times without a zone in some versions, which count as UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


READERS: Mapping[str, Reader] = {
    "junit": _test_cases, "junit_all": _all_tests, "figures": _figures, "baseline": _baseline,
}  # fmt: skip
