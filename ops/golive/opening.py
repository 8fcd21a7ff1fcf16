"""What the verbs of `leads golive` share: options, the sources, the gate of a wave."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ops.golive.alerts import missing_alerts
from ops.golive.criterion import WAVES, Criterion, Part
from ops.golive.gates import (
    Before,
    Evaluation,
    Inputs,
    criteria_of,
    evaluate,
    evaluate_gate,
    wave_before,
)
from ops.golive.judgement import Outcome
from ops.golive.measuring import Places, Probe, Sources
from ops.golive.plans import explain_lookups
from ops.golive.records import Kind, Record, Records, newest
from ops.golive.scans import scans_since_begin
from ops.settings import read_operator_settings

VARIABLES = ("DATABASE_URL", "PROMETHEUS_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "PUBLIC_URL")
GATE_PROBES: Mapping[str, Probe] = {
    "explain_lookups": explain_lookups,
    "scans_since_begin": scans_since_begin,
    "missing_alerts": missing_alerts,
}
"""The measurements by a program that gates need, by the name that `query` of a criterion has."""


class Wave(StrEnum):
    """A wave of the pilot."""

    W1, W2, W3, W4 = WAVES


class Subject(StrEnum):
    """What is judged: the gate of a wave, or the sign-off at the end of the pilot."""

    W1, W2, W3, W4 = WAVES
    SIGN_OFF = "sign-off"


RecordsFolder = Annotated[
    Path, typer.Option("--records", metavar="DIR", help="The folder of the records and of their evidence.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who states it: a person's name.")]
DEFAULT_RECORDS = Path("golive")


@contextmanager
def open_inputs(folder: Path) -> Iterator[Inputs]:
    """Read the records, and open the sources when they are asked. Raises RecordsError, SettingsError."""
    settings = read_operator_settings(may_have=VARIABLES)
    places = Places(
        settings.database_url, settings.prometheus_url, settings.hasura_url, settings.hasura_admin_secret,
        settings.public_url,
    )  # fmt: skip
    records = Records(folder)
    with Sources(places, records) as sources:
        yield Inputs(sources, records.read(), settings.commit, GATE_PROBES)


def gate_file(wave: str) -> str:
    """Return the name of the evidence that says how a gate was when the next wave began."""
    return f"gate-{wave}.json"


def gate_at(subject: str, criteria: tuple[Criterion, ...], inputs: Inputs, at: datetime) -> Evaluation:
    """Evaluate the gate of a wave, or the sign-off, at a time. Raises RecordsError."""
    if subject != Subject.SIGN_OFF:
        return evaluate_gate(subject, criteria, inputs, at, _gate_before(subject, inputs, at))
    last = gate_at(WAVES[-1], criteria, inputs, at)
    outcome, reason = (Outcome.PASS, "It is open.") if last.is_open else (Outcome.FAIL, "It is closed.")
    found = evaluate(subject, criteria_of(Part.SIGN_OFF, criteria), inputs, at, last.subject)
    return replace(found, before=Before(last.subject, outcome, reason))


def _gate_before(wave: str, inputs: Inputs, at: datetime) -> Before | None:
    """Say whether the gate of the wave before was open when this wave began, by the evidence of that."""
    before = wave_before(wave)
    if before is None:
        return None
    record = newest(inputs.records, Kind.BEGIN, wave, at)
    if record is None:
        reason = f"Wave {wave} has not begun: leads golive begin {wave} --by NAME"
        return Before(before, Outcome.INCONCLUSIVE, reason)
    when = f"when {wave} began, {record.holds_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if _was_open(before, record, inputs.sources.records):
        return Before(before, Outcome.PASS, f"It was open {when}.")
    return Before(before, Outcome.FAIL, f"It was not open {when}.")


def _was_open(wave: str, record: Record, files: Records) -> bool:
    kept = [each for each in record.evidence if each.name == gate_file(wave)]
    if not kept:
        return False
    document = json.loads(files.read_evidence(kept[0]))
    return document.get("subject") == wave and document.get("is_open") is True
