"""What people hand in for a gate: files that prove it, as the tools write them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from leads.cli.golive.criterion import Criterion, Source
from leads.cli.golive.load import load_criteria
from tests.support.golive_pilot import COMMIT, Pilot

CASES = (
    *(f"TC-{number:03}" for number in range(1, 19)),
    *(f"TC-013-{number:03}" for number in range(3, 6)),
    *(f"TC-014-{number:03}" for number in range(1, 16)),
)
"""The test cases of the checklist."""


def junit(failed: tuple[str, ...] = (), commit: str = COMMIT, skipped: tuple[str, ...] = ()) -> bytes:
    """A run of the test cases, a test for each, as pytest writes it."""
    suite = ElementTree.Element("testsuite", timestamp=datetime.now(UTC).isoformat())
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="commit", value=commit)
    for case in CASES:
        test = ElementTree.SubElement(suite, "testcase", name=f"test of {case}")
        marks = ElementTree.SubElement(test, "properties")
        ElementTree.SubElement(marks, "property", name="test_case", value=case)
        if case in failed:
            ElementTree.SubElement(test, "failure", message="it is wrong")
        if case in skipped:
            ElementTree.SubElement(test, "skipped", message="no browser")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return ElementTree.tostring(root)


def figures(kind: str, commit: str = COMMIT, **values: object) -> bytes:
    """The result of a load test, an outage test or a drill."""
    return json.dumps(
        {"kind": kind, "at": datetime.now(UTC).isoformat(), "commit": commit, **values}
    ).encode()


def baseline(
    minutes: int = 90,
    tickets: int = 60,
    days: int = 7,
    since: datetime = datetime(2026, 5, 18, 8, tzinfo=UTC),
) -> bytes:
    """The week before the pilot: each ticket was answered after so many minutes."""
    created = [since + timedelta(days=number % days, minutes=number) for number in range(tickets)]
    rows = [f"{at.isoformat()},{(at + timedelta(minutes=minutes)).isoformat()}" for at in created]
    return "\n".join(["created_at,first_response_at", *rows]).encode()


FILES: Mapping[str, Callable[[], bytes]] = {"junit": junit, "junit_all": junit, "baseline": baseline}
"""By the reader."""
FIGURES: Mapping[str, Mapping[str, object]] = {
    "loadtest": {"rate": 100, "minutes": 10, "p95_seconds": 0.05, "process_p95_seconds": 1.2, "ok": True},
    "four_layers": {"sent": 2000, "lost": [], "ok": True},
    "smoke": {"answer_status": 200, "ok": True},
    "drill": {"rate": 20, "minutes": 3.5, "ok": True},
}
"""By the kind of a result."""
BEYOND: Mapping[str, object] = {
    "p95_seconds": 1.5, "process_p95_seconds": 40, "minutes": 40, "lost": ["a lead"], "answer_status": 503,
}  # fmt: skip
"""Figures on the wrong side of every target."""


def good_file(criterion: Criterion, **changed: object) -> bytes:
    """A file with which the criterion passes, but for the figures that are `changed`."""
    if criterion.query != "figures":
        return FILES[criterion.query]()
    kind = criterion.parameters["kind"]
    pairs = (each.partition("=") for each in criterion.parameters.get("exactly", "").split())
    exact = {name: float(number) for name, _, number in pairs}
    return figures(kind, COMMIT, **{**FIGURES[kind], **exact, **changed})


def bad_file(criterion: Criterion) -> bytes:
    """A file of the right form with which the criterion fails: 1.5 s, a lost lead, one failed test."""
    match criterion.query:
        case "junit":
            prefix, first = (criterion.parameters[name] for name in ("prefix", "first"))
            return junit(failed=(f"{prefix}{int(first):03}",))
        case "junit_all":
            return junit(failed=CASES[-1:])
        case "baseline":
            return baseline(minutes=0)
    return good_file(criterion, **{criterion.value: BEYOND[criterion.value]})


def attest_all(pilot: Pilot, wave: str, folder: Path) -> list[str]:
    """Attest everything that a gate asks of people and that has no attestation yet; return the ids."""
    open_ids = [name for name, outcome in pilot.outcomes(wave).items() if outcome == "no_data"]
    asked = [each for each in load_criteria() if each.id in open_ids]
    asked = [each for each in asked if each.source in (Source.PERSON, Source.FILE)]
    for criterion in asked:
        attest(pilot, criterion, folder)
    return [each.id for each in asked]


def attest(pilot: Pilot, criterion: Criterion, folder: Path) -> None:
    """Attest a criterion with a value that passes."""
    path = folder / f"{criterion.id}.evidence"
    words = ["attest", criterion.id, "--by", criterion.owner, "--evidence", str(path)]
    if criterion.source is Source.FILE:
        path.write_bytes(good_file(criterion))
    else:
        path.write_text(f"proof of {criterion.id}")
        words += ["--value", f"{criterion.target:g}"]
        words += ["--cases", str(criterion.min_samples)] if criterion.min_samples else []
    result = pilot.golive(*words)
    assert result.exit_code == 0, result.output
