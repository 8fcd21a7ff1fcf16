"""`leads golive report`: a gate as files for people and programs, with a signed statement of their hashes."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Annotated

import typer

from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError
from ops.clients.signing import SigningKey
from ops.failures import CommandFailed
from ops.golive.criterion import Criterion
from ops.golive.daily import daily_figures
from ops.golive.document import evaluation_document
from ops.golive.gate import At, exit_code, moment
from ops.golive.gates import Evaluation, Inputs
from ops.golive.html_page import Figure, html_page
from ops.golive.load import load_criteria
from ops.golive.machine_files import junit_text, prometheus_text
from ops.golive.measuring import SourceDown
from ops.golive.opening import DEFAULT_RECORDS, RecordsFolder, Subject, gate_at, open_inputs
from ops.golive.records import Record
from ops.golive.statement import EVIDENCE, PAYLOAD_TYPE, SignedReport, digest_of, statement_bytes
from ops.golive.windows import WaveNotBegun, beginning
from ops.output import AsJson, print_json, print_line, show_activity

ENVELOPE = "report.dsse.json"


def report(
    subject: Annotated[Subject, typer.Argument(help="The wave whose gate is reported, or the sign-off.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key, Ed25519 in PEM.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder of the report is made.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Write the gate of a wave as a signed report.

    The folder holds report.html for people, report.json, report.xml (JUnit) and
    report.prom for programs, the criteria and the records that it was made of, and
    report.dsse.json: the signed hashes of them all and of the evidence. Exit codes
    and variables are those of gate.
    """
    signing_key = SigningKey.read(key)
    criteria = load_criteria()
    with open_inputs(folder) as inputs, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, criteria, inputs, moment(at))
        files = report_files(evaluation, criteria, inputs)
    payload = statement_bytes(signed_report(evaluation, files, inputs.records))
    envelope = json.dumps(signing_key.envelope(PAYLOAD_TYPE, payload), indent=1) + "\n"
    made = write_folder(to, evaluation, {**files, ENVELOPE: envelope.encode()})
    if as_json:
        print_json({"folder": made, "is_open": evaluation.is_open, "key_id": signing_key.key_id})
    else:
        state = "open" if evaluation.is_open else "closed"
        print_line(f"Gate {subject} is {state}. Report: {made / 'report.html'}")
        print_line(f"Check it with: leads golive verify {made / ENVELOPE} --public-key FILE")
    raise typer.Exit(exit_code(evaluation))


def report_files(evaluation: Evaluation, criteria: tuple[Criterion, ...], inputs: Inputs) -> dict[str, bytes]:
    """Return the files of a report by their names."""
    document = json.dumps(evaluation_document(evaluation), ensure_ascii=False, indent=1)
    records = [record for record in inputs.records if record.statement.at <= evaluation.at]
    return {
        "report.html": html_page(evaluation, _figures(evaluation, inputs), records).encode(),
        "report.json": document.encode(),
        "report.xml": junit_text(evaluation).encode(),
        "report.prom": prometheus_text(evaluation).encode(),
        "criteria.json": criteria_bytes(criteria),
        "records.jsonl": records_bytes(inputs.records),
    }


def _figures(evaluation: Evaluation, inputs: Inputs) -> list[Figure]:
    """Draw the key figures of the pilot; without the database or a beginning there are none."""
    try:
        since = beginning("W1", evaluation.at, inputs.records)
        return daily_figures(inputs.sources.database(), since, evaluation.at)
    except (WaveNotBegun, SourceDown, DatabaseError, IntegrationError):
        return []


def criteria_bytes(criteria: tuple[Criterion, ...]) -> bytes:
    """Return the criteria as canonical JSON: equal bytes are equal criteria."""
    document = [asdict(each) for each in criteria]
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1, default=str).encode()


def records_bytes(records: tuple[Record, ...]) -> bytes:
    """Return records as their file has them."""
    return "".join(f"{record.as_json()}\n" for record in records).encode()


def signed_report(
    evaluation: Evaluation, files: Mapping[str, bytes], records: tuple[Record, ...]
) -> SignedReport:
    """Return what is signed of a report."""
    subjects = {name: digest_of(content) for name, content in files.items()}
    evidence = {each.sha256 for record in records for each in record.evidence}
    return SignedReport(
        subjects=subjects | {f"{EVIDENCE}{digest}": digest for digest in evidence},
        gate=evaluation.subject,
        at=evaluation.at,
        commit=evaluation.commit,
        is_open=evaluation.is_open,
        records=len(records),
    )


def write_folder(to: Path, evaluation: Evaluation, files: Mapping[str, bytes]) -> Path:
    """Write the files into a new folder, which appears when all are on disk. Raises CommandFailed."""
    made = to / f"{evaluation.subject}-{evaluation.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    partial = made.with_name(f".{made.name}.{os.getpid()}.partial")
    try:
        if made.exists():
            raise CommandFailed(f"{made} exists already. Remove it, or give another folder with --to.")
        partial.mkdir(parents=True)
        for name, content in files.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                os.fsync(file.fileno())
        partial.rename(made)
    except OSError as error:
        raise CommandFailed(f"{error.filename or made}: {error.strerror}") from error
    return made
