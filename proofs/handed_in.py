"""What people hand in at a go-live: keys, and for each criterion a file with which it passes."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from ops.golive.criterion import Criterion
from ops.golive.judgement import WHOLE_SUITE
from ops.golive.records import CI, namespace

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_key(folder: Path, name: str, namespaces: str = "golive.*", options: str = "") -> Path:
    """Make a key of OpenSSH, and let it sign in these namespaces; return its path."""
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    kind, public, *_ = key.with_suffix(".pub").read_text().split()
    with (folder / "allowed_signers").open("a") as signers:
        signers.write(f'{name}@diva.example namespaces="{namespaces}"{options} {kind} {public}\n')
    return key


def sign_as_pipeline(path: Path, key: Path) -> None:
    """Sign a file of evidence as CI does, anew if it was signed before."""
    path.with_name(f"{path.name}.sig").unlink(missing_ok=True)
    words = ("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", namespace(CI), path)
    subprocess.run(words, check=True, capture_output=True)


CASES = (
    *(f"TC-{number:03}" for number in range(1, 19)),
    *(f"TC-013-{number:03}" for number in range(3, 6)),
    *(f"TC-014-{number:03}" for number in range(1, 16)),
)
"""The test cases of the checklist."""


def junit(
    failed: tuple[str, ...] = (),
    commit: str = COMMIT,
    skipped: tuple[str, ...] = (),
    at: datetime | None = None,
) -> bytes:
    """A run of the test cases, a test for each, as pytest writes it."""
    suite = ElementTree.Element("testsuite", timestamp=(at or datetime.now(UTC)).isoformat())
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="commit", value=commit)
    ElementTree.SubElement(properties, "property", name="suite", value=WHOLE_SUITE)
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


def figures(kind: str, **values: object) -> bytes:
    """The result of a load test, an outage test or a drill."""
    found = {"kind": kind, "at": datetime.now(UTC).isoformat(), "commit": COMMIT, **values}
    return json.dumps(found).encode()


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


GOOD_FIGURES: Mapping[str, Mapping[str, object]] = {
    "loadtest": {"rate": 100, "minutes": 10, "p95_seconds": 0.05, "process_p95_seconds": 1.2, "ok": True},
    "four_layers": {"sent": 2000, "lost": [], "ok": True},
    "smoke": {"answer_status": 200, "ok": True, "installation": {"database": "staging@1"}},
    "drill": {"rate": 20, "minutes": 3.5, "ok": True, "installation": {"database": "staging@1"}},
}
"""By the kind of a result."""


def good_file(
    criterion: Criterion, commit: str = COMMIT, at: datetime | None = None, **changed: object
) -> bytes:
    """A file with which the criterion passes, but for the figures that are `changed`."""
    if criterion.query == "baseline":
        return baseline()
    if criterion.query != "figures":
        return junit(commit=commit, at=at)
    kind = criterion.parameters["kind"]
    pairs = (each.partition("=") for each in criterion.parameters.get("exactly", "").split())
    exact = {name: float(number) for name, _, number in pairs}
    made = {"commit": commit, "at": (at or datetime.now(UTC)).isoformat()}
    return figures(kind, **{**GOOD_FIGURES[kind], **exact, **made, **changed})
