"""`leads golive report`: a gate as files for people and programs, with a signed statement of their hashes.

What is signed is an in-toto Statement, whose subjects are hashes of files. Source:
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from leads.domain.body import ICT
from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError, DbSession
from ops.clients.signing import SigningKey
from ops.failures import CommandFailed
from ops.files import digest_of
from ops.golive.criterion import Criterion, find_criterion, load_criteria
from ops.golive.gates import (
    DEFAULT_RECORDS,
    WORDS,
    At,
    Evaluation,
    RecordsFolder,
    Subject,
    finding,
    gate_at,
    moment,
    note,
    open_sources,
    time_text,
)
from ops.golive.line_chart import Point, draw
from ops.golive.measuring import NoData, SourceDown, Sources, beginning, read_row
from ops.golive.records import Kind, Record
from ops.html import render_page
from ops.output import AsJson, print_json, print_line, show_activity

TEMPLATE = Path(__file__).with_name("report.html.j2")
ENVELOPE = "report.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:pancake-diva:golive:v1"
EVIDENCE = "evidence/"
KINDS = {
    Kind.BEGIN: ("Bắt đầu", "Begins"),
    Kind.ATTEST: ("Xác nhận", "Attested"),
    Kind.WAIVE: ("Miễn", "Waived"),
    Kind.NOT_APPLICABLE: ("Không áp dụng", "Not applicable"),
}
DAY = timedelta(days=1)
MAX_DAYS = 120
Figure = tuple[str, str]
"""An SVG image in Vietnamese, and its caption in English."""


def report(
    subject: Annotated[Subject, typer.Argument(help="The wave whose gate is reported, or the sign-off.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="The private key, Ed25519 in PEM.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder of the report is made.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Write the gate of a wave as a signed report.

    The folder holds report.html for people, report.json for programs, the criteria
    and the records that it was made of, and report.dsse.json: the signed hashes of
    them all and of the evidence. Exit codes and variables are those of gate.
    """
    signing_key = SigningKey.read(key)
    with open_sources(folder) as sources, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, sources, moment(at))
        files = report_files(evaluation, sources)
    payload = statement_bytes(evaluation, files, sources.records)
    envelope = json.dumps(signing_key.envelope(PAYLOAD_TYPE, payload), indent=1) + "\n"
    made = write_folder(to, evaluation, {**files, ENVELOPE: envelope.encode()})
    if as_json:
        print_json({"folder": made, "is_open": evaluation.is_open, "key_id": signing_key.key_id})
    else:
        state = "open" if evaluation.is_open else "closed"
        print_line(f"Gate {subject} is {state}. Report: {made / 'report.html'}")
        print_line(f"Check it with: leads golive verify {made / ENVELOPE} --public-key FILE")
    raise typer.Exit(evaluation.exit_code)


def report_files(evaluation: Evaluation, sources: Sources) -> dict[str, bytes]:
    """Return the files of a report by their names."""
    document = json.dumps(evaluation.document(), ensure_ascii=False, indent=1)
    records = [record for record in sources.records if record.statement.at <= evaluation.at]
    return {
        "report.html": html_page(evaluation, _figures(evaluation, sources), records).encode(),
        "report.json": document.encode(),
        "criteria.json": criteria_bytes(),
        "records.jsonl": records_bytes(sources.records),
    }


def criteria_bytes() -> bytes:
    """Return the criteria as canonical JSON: equal bytes are equal criteria."""
    document = [asdict(each) for each in load_criteria()]
    return json.dumps(document, ensure_ascii=False, sort_keys=True, indent=1, default=str).encode()


def records_bytes(records: tuple[Record, ...]) -> bytes:
    """Return records as their file has them."""
    return "".join(f"{record.as_json()}\n" for record in records).encode()


def statement_bytes(evaluation: Evaluation, files: Mapping[str, bytes], records: tuple[Record, ...]) -> bytes:
    """Return what is signed of a report, as canonical JSON."""
    subjects = {name: digest_of(content) for name, content in files.items()}
    subjects |= {f"{EVIDENCE}{each.sha256}": each.sha256 for record in records for each in record.evidence}
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "gate": evaluation.subject, "at": evaluation.at.isoformat(), "commit": evaluation.commit,
            "is_open": evaluation.is_open, "records": len(records),
        },
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def write_folder(to: Path, evaluation: Evaluation, files: Mapping[str, bytes]) -> Path:
    """Write the files into a new folder, which appears as a whole. Raises CommandFailed."""
    made = to / f"{evaluation.subject}-{evaluation.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    if made.exists():
        raise CommandFailed(f"{made} exists already. Remove it, or give another folder with --to.")
    partial = made.with_name(f".{made.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    for name, content in files.items():
        (partial / name).write_bytes(content)
    partial.rename(made)
    return made


def html_page(evaluation: Evaluation, figures: Sequence[Figure], records: Sequence[Record]) -> str:
    """Return the page, in Vietnamese and English: no script, nothing from elsewhere."""
    return render_page(
        TEMPLATE, evaluation=evaluation, figures=figures, records=records, words=WORDS, kinds=KINDS,
        local=f"{evaluation.at.astimezone(ICT):%H:%M %d/%m/%Y}", time_text=time_text, finding=finding,
        note=note,
    )  # fmt: skip


FIGURES = {
    "success-rate": ("Tỷ lệ xử lý thành công", "Leads processed"),
    "E6-latency": ("Từ lúc nhận đến ticket, p95", "From arrival to ticket, p95"),
    "auto-assign-W4": ("Giữ đúng người được chọn", "Tickets that keep the chosen owner"),
    "intervention-W2": ("Quản lý phân công lại", "Reassigned by managers"),
    "E6-sla": ("Phản hồi đầu tiên, p95", "First response, p95"),
    "E6-zero-miss": ("Lead còn thiếu sau đối soát", "Leads missing after reconciliation"),
}
"""The criteria that are drawn, each with short titles in both languages."""


def _figures(evaluation: Evaluation, sources: Sources) -> list[Figure]:
    """Draw the key figures of the pilot, a point for each day; without the database or a beginning none.

    Only the last MAX_DAYS days are drawn.
    """
    until = evaluation.at
    try:
        since = beginning("W1", until, sources.records)
        days = days_between(max(since, until - MAX_DAYS * DAY), until)
        session = sources.session
        return [drawn(name, _points(session, find_criterion(name), days)) for name in FIGURES]
    except (NoData, SourceDown, DatabaseError, IntegrationError):
        return []


def days_between(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the days of Vietnam from `since` to `until`; the first and the last may be shorter."""
    days = []
    start = since
    while start < until:
        midnight = start.astimezone(ICT).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        end = min(midnight, until)
        days.append((start, end))
        start = end
    return days


def _points(
    session: DbSession, criterion: Criterion, days: Sequence[tuple[datetime, datetime]]
) -> list[Point]:
    points: list[Point] = []
    for start, end in days:
        row = read_row(session, criterion.query, {"from": start, "to": end}) or {}
        value = row.get(criterion.value)
        points.append((start + (end - start) / 2, None if value is None else float(value)))
    return points


def drawn(name: str, points: Sequence[Point]) -> Figure:
    """Draw a criterion of FIGURES with a point for each day."""
    criterion, (title_vi, title_en) = find_criterion(name), FIGURES[name]
    return draw(criterion, title_vi, points), f"{title_en}, by day. Target {criterion.shown_target}."
