"""Read the value of a criterion from a file that was handed in. The file decides, not the person."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from operator import eq, ge
from statistics import quantiles
from typing import Any
from xml.etree import ElementTree

from leads.domain.body import ICT
from ops.failures import WrongUsage
from ops.golive.criterion import Criterion
from ops.golive.judgement import Measurement

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
