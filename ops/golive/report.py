"""`leads golive report`: a gate as files for people and programs; one names the others, and is signed."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from leads.domain.body import ICT
from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError, DbSession
from ops.failures import CommandFailed
from ops.files import digest_of
from ops.golive import vietnamese
from ops.golive.criterion import Criterion, Role, find_criterion
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
from ops.golive.records import Kind, Record, signature_of
from ops.html import render_page
from ops.output import AsJson, print_json, print_line, show_activity

TEMPLATE = Path(__file__).with_name("report.html.j2")
REPORT, PAGE = "report.json", "report.html"
KINDS = {
    Kind.BEGIN: ("Bắt đầu", "Begins"),
    Kind.ATTEST: ("Xác nhận", "Attested"),
    Kind.WAIVE: ("Miễn", "Waived"),
    Kind.NOT_APPLICABLE: ("Không áp dụng", "Not applicable"),
}
DAY, NIGHT = timedelta(days=1), timedelta(hours=4)
MAX_DAYS = 120
Figure = tuple[str, str]
"""An SVG image in Vietnamese, and its caption in English."""


def report(
    subject: Annotated[Subject, typer.Argument(help="The wave whose gate is reported, or the sign-off.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder of the report is made.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Write the gate of a wave as a report that the release manager signs.

    The folder holds report.html for people, and report.json with its signature for
    programs: the rule of each criterion, the hash of the page, and the newest
    records, which name all others. Exit codes and variables are those of gate;
    GOLIVE_KEY signs.
    """
    with open_sources(folder) as sources, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, sources, moment(at))
        files = report_files(evaluation, sources)
        signer, (signature,) = sources.files.sign(Role.RELEASE, [files[REPORT]])
        files[signature_of(Path(REPORT)).name] = signature
    made = write_folder(to, evaluation, files)
    if as_json:
        print_json({"folder": made, "is_open": evaluation.is_open, "signer": signer})
    else:
        state = "open" if evaluation.is_open else "closed"
        print_line(f"Gate {subject} is {state}. Report: {made / PAGE}, signed by {signer}")
        print_line(f"Check it with: leads golive verify {made}")
    raise typer.Exit(evaluation.exit_code)


def report_files(evaluation: Evaluation, sources: Sources) -> dict[str, bytes]:
    """Return the files of a report by their names."""
    records = [record for record in sources.records if record.statement.at <= evaluation.at]
    page = html_page(evaluation, _figures(evaluation, sources), records).encode()
    signed = {"signed_at": datetime.now(UTC).isoformat(), "page": digest_of(page)}
    document = json.dumps(evaluation.document() | signed, ensure_ascii=False, indent=1)
    return {PAGE: page, REPORT: document.encode()}


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
        note=note, vietnamese=vietnamese,
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
    # What was missing on a day its night tells.
    later = NIGHT if criterion.query == "golive/load_nights" else timedelta()
    for start, end in days:
        row = read_row(session, criterion.query, {"from": start + later, "to": end + later}) or {}
        value = row.get(criterion.value)
        points.append((start + (end - start) / 2, None if value is None else float(value)))
    return points


def drawn(name: str, points: Sequence[Point]) -> Figure:
    """Draw a criterion of FIGURES with a point for each day."""
    criterion, (title_vi, title_en) = find_criterion(name), FIGURES[name]
    return draw(criterion, title_vi, points), f"{title_en}, by day. Target {criterion.shown_target}."
