"""`leads golive verify`: whether a report is what was signed, and whether the sources still say the same."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.clients.signing import MAX_ENVELOPE_BYTES, SignatureRefused, VerifyKey
from ops.failures import CommandFailed, ExitCode
from ops.files import digest_of
from ops.golive.criterion import Source
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder, gate_at, open_sources, time_text
from ops.golive.records import MAX_FILE_BYTES, Records, RecordsError, read_limited
from ops.golive.report import (
    EVIDENCE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    criteria_bytes,
    records_bytes,
)
from ops.output import AsJson, print_in_column, print_json, show_activity

COLUMN = 10
RECORDS_FILE = "records.jsonl"
CRITERIA_FILE = "criteria.json"


@dataclass(frozen=True, slots=True)
class SignedReport:
    """What was signed: the SHA-256 of each subject by its name, and what the report is of."""

    subjects: Mapping[str, str]
    gate: str
    at: datetime
    is_open: bool
    records: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was compared with what was signed; `problem` is empty if it is the same."""

    name: str
    problem: str = ""


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="report.dsse.json in the report's folder.")],
    public_key: Annotated[
        Path, typer.Option("--public-key", metavar="KEY", help="The public key, Ed25519 in PEM.")
    ],
    reevaluate: Annotated[
        bool, typer.Option("--reevaluate", help="Ask the sources again for that time, and compare.")
    ] = False,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Check a signed report: signature, files, records and evidence.

    Every file has to have the hash that was signed, and the records of the folder
    have to begin with those of the report. With --reevaluate the statements run
    again for the time of the report (needs the variables of gate): late changes of
    the data show as differences, and criteria that were changed since are named.
    Exit code 1: something differs.
    """
    key = VerifyKey.read(public_key)
    try:
        signed = read_statement(key.open(read_limited(file, MAX_ENVELOPE_BYTES), PAYLOAD_TYPE))
    except SignatureRefused as error:
        raise CommandFailed(f"{file}: {error}") from error
    compared = [Comparison(f"signature of key {key.key_id[:12]}"), *check_files(file.parent, signed)]
    compared += check_records(Records(folder), signed)
    if reevaluate:
        with show_activity(f"evaluating gate {signed.gate}"):
            compared += compare_again(folder, signed, file.parent)
    is_right = not any(each.problem for each in compared)
    if as_json:
        print_json({
            "is_right": is_right, "gate": signed.gate, "at": signed.at, "is_open": signed.is_open,
            "checks": [{"name": each.name, "problem": each.problem or None} for each in compared],
        })  # fmt: skip
    else:
        _print(signed, compared, is_right)
    if not is_right:
        raise typer.Exit(ExitCode.FAILED)


def read_statement(payload: bytes) -> SignedReport:
    """Read a signed statement. Raises CommandFailed."""
    try:
        document: Mapping[str, Any] = json.loads(payload)
        if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError("another type")
        subjects = {each["name"]: each["digest"]["sha256"] for each in document["subject"]}
        of = document["predicate"]
        at = datetime.fromisoformat(of["at"])
        return SignedReport(subjects, of["gate"], at, of["is_open"], of["records"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed("What was signed is not the statement of a report of leads golive.") from error


def check_files(folder: Path, signed: SignedReport) -> list[Comparison]:
    """Compare the files beside the envelope with the hashes that were signed."""
    compared = []
    for name, digest in signed.subjects.items():
        if name.startswith(EVIDENCE):
            continue
        if "/" in name or name.startswith("."):
            compared.append(Comparison(name, "it is no name of a file of a report"))
            continue
        try:
            found = digest_of(read_limited(folder / name, MAX_FILE_BYTES))
            compared.append(
                Comparison(name, "" if found == digest else "it was changed: its hash is another one")
            )
        except CommandFailed as error:
            compared.append(Comparison(name, str(error)))
    return compared


def check_records(records: Records, signed: SignedReport) -> list[Comparison]:
    """Compare the records of the folder, and their evidence, with those of the report."""
    name = f"records in {records.folder}"
    try:
        found = records.read()
    except RecordsError as error:
        return [Comparison(name, str(error))]
    held = digest_of(records_bytes(found[: signed.records]))
    if len(found) < signed.records or held != signed.subjects.get(RECORDS_FILE):
        return [Comparison(name, f"they do not begin with the {signed.records} records of the report")]
    compared = [Comparison(name)]
    for evidence in {each.sha256: each for record in found for each in record.evidence}.values():
        if f"{EVIDENCE}{evidence.sha256}" in signed.subjects:
            try:
                records.read_evidence(evidence)
                compared.append(Comparison(f"evidence {evidence.name}"))
            except RecordsError as error:
                compared.append(Comparison(f"evidence {evidence.name}", str(error)))
    return compared


def compare_again(folder: Path, signed: SignedReport, report: Path) -> list[Comparison]:
    """Evaluate the gate again for the time of the report; a difference of a measured value is a problem.

    A criterion that is another one by now is not asked again: its difference would say nothing.
    """
    before: dict[str, Any] = json.loads(read_limited(report / "report.json", MAX_FILE_BYTES))
    then, now = (
        {each["id"]: each for each in json.loads(content)}
        for content in (read_limited(report / CRITERIA_FILE, MAX_FILE_BYTES), criteria_bytes())
    )
    with open_sources(folder) as sources:
        again = gate_at(signed.gate, sources, signed.at).document()
    found = {each["id"]: each for each in again["criteria"]}
    return [
        Comparison(f"again: {old['id']}", _difference(old, found[old["id"]]))
        if then[old["id"]] == now.get(old["id"])
        else Comparison(f"again: {old['id']}", "the installed criterion is not that of the report")
        for old in before["criteria"]
        if old["source"] in (Source.SQL, Source.PROMQL)
    ]


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    if (new["outcome"], new["value"]) == (old["outcome"], old["value"]):
        return ""
    was, now = (f"{each['outcome']} ({each['value']})" for each in (old, new))
    return f"it was {was}, it is {now}. {new['reason']}".strip()


def _print(signed: SignedReport, compared: list[Comparison], is_right: bool) -> None:
    console = Console()
    for each in sorted(compared, key=lambda one: not one.problem):
        word = "DIFFERS" if each.problem else "ok"
        print_in_column(word.ljust(COLUMN), f"{each.name} {each.problem}".strip(), console)
    state = "open" if signed.is_open else "closed"
    said = "The report is what was signed" if is_right else "The report is not what was signed"
    console.print(f"{said}: gate {signed.gate} was {state} at {time_text(signed.at)}.", soft_wrap=True)
