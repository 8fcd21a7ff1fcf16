"""Read the value of a criterion from a file that was handed in. The file decides, not the person."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from statistics import quantiles
from typing import Any
from xml.etree import ElementTree

from leads.cli.failures import WrongUsage
from leads.cli.golive.criterion import Criterion
from leads.cli.golive.judgement import Measurement

Reader = Callable[[Criterion, bytes], Measurement]


class EvidenceError(WrongUsage):
    """The file is not what the criterion needs; the message says what that is."""


def read_evidence_file(criterion: Criterion, content: bytes) -> Measurement:
    """Return what the file says about a criterion of source `file`. Raises EvidenceError."""
    try:
        return READERS[criterion.query](criterion, content)
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise EvidenceError(f"The file is no {criterion.query} as {criterion.id} needs it: {error}") from error


def _junit(criterion: Criterion, content: bytes) -> Measurement:
    """The share of passed tests with one of the marks `cases`: all test cases, or TC-001 to TC-010.

    A test case passes if each of its tests passed; a skipped one did not.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("a document type is not allowed")
    root = ElementTree.fromstring(content)  # noqa: S314 - entities were refused above
    prefix, first, last = criterion.parameters["prefix"], *_bounds(criterion.parameters)
    results: dict[str, bool] = {}
    for case in root.iter("testcase"):
        passed = not any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
        for each in case.iter("property"):
            name = each.get("value", "")
            if each.get("name") == "test_case" and name.startswith(prefix):
                number = name.removeprefix(prefix)
                if number.isdecimal() and first <= int(number) <= last:
                    results[name] = results.get(name, True) and passed
    total = last - first + 1
    passed_cases = sum(results.values())
    suite = root if root.tag == "testsuite" else root.find("testsuite")
    stamp = suite.get("timestamp") if suite is not None else None
    commit = next(
        (each.get("value", "") for each in root.iter("property") if each.get("name") == "commit"), ""
    )
    failed = sorted(name for name, passed in results.items() if not passed)
    missing = total - len(results)
    details = ", ".join(filter(None, [
        f"failed: {' '.join(failed)}" if failed else "", f"{missing} without a test" if missing else "",
    ]))  # fmt: skip
    return Measurement(
        value=passed_cases / total, total=total, bad=total - passed_cases, commit=commit,
        measured_at=_time(stamp), details=details,
    )  # fmt: skip


def _bounds(parameters: Mapping[str, str]) -> tuple[int, int]:
    return int(parameters["first"]), int(parameters["last"])


def _figures(criterion: Criterion, content: bytes) -> Measurement:
    """A figure of a JSON result of `scripts/loadtest`, `scripts/chaos` or `leads golive drill`.

    `kind` is what the result must be of, `at_least` a figure that it must have reached (`name=number`).
    """
    document = json.loads(content)
    wanted = criterion.parameters["kind"]
    if document.get("kind") != wanted:
        raise ValueError(f"its kind is {document.get('kind')!r}, not {wanted!r}")
    for condition in filter(None, criterion.parameters.get("at_least", "").split()):
        name, _, minimum = condition.partition("=")
        if _number(document, name) < float(minimum):
            raise ValueError(f"{name} is {document[name]}, at least {minimum} is needed")
    return Measurement(
        value=_number(document, criterion.value),
        measured_at=_time(document["at"]),
        commit=str(document.get("commit", "")),
    )


def _number(document: Mapping[str, Any], name: str) -> float:
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    return float(value)


def _baseline(criterion: Criterion, content: bytes) -> Measurement:
    """The p95 of minutes from `created_at` to `first_response_at`, a CSV of the week before the pilot."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    minutes = [
        (datetime.fromisoformat(row["first_response_at"]) - datetime.fromisoformat(row["created_at"]))
        .total_seconds() / 60
        for row in rows
    ]  # fmt: skip
    if any(value < 0 for value in minutes):
        raise ValueError("a first response is earlier than its ticket")
    if len(minutes) < 2:
        return Measurement(total=len(minutes))
    return Measurement(value=quantiles(minutes, n=20, method="inclusive")[-1], total=len(minutes), bad=0)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.astimezone()


READERS: Mapping[str, Reader] = {"junit": _junit, "figures": _figures, "baseline": _baseline}
