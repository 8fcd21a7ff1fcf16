"""`leads golive baseline`: the response times of tickets before the pilot, as the file that G-9 needs."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from leads.domain.body import ICT
from ops.clients.db_session import QUERIES, open_session
from ops.failures import CommandFailed, WrongUsage
from ops.golive.evidence import MAX_ROWS, p95_minutes
from ops.output import AsJson, print_json
from ops.settings import read_operator_settings

DAY = ["%Y-%m-%d"]


def baseline(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="The first day, in Vietnam.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="The last day.")],
    source: Annotated[
        list[str] | None, typer.Option(help="Only tickets of this source; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the response times of the tickets that people made by hand, as CSV.

    An unanswered ticket counts with its age at the end of the last day, as in the
    key figures. Hand the file in with: leads golive attest G-9. Needs DATABASE_URL.
    """
    if last < first:
        raise WrongUsage("--to is not earlier than --from.")
    start, end = (day.replace(tzinfo=ICT) for day in (first, last + timedelta(days=1)))
    params = {"from": start, "to": min(end, datetime.now(UTC)), "sources": source, "limit": MAX_ROWS + 1}
    with open_session(read_operator_settings("DATABASE_URL").database_url, "golive") as session:
        rows = session.execute(QUERIES["golive/list_baseline"], params).fetchall()
    if not rows:
        raise CommandFailed("There are no such tickets. Give other days, or another --source.")
    if len(rows) > MAX_ROWS:
        raise CommandFailed(f"There are more than {MAX_ROWS} tickets. Give fewer days.")
    times = [(row["created_at"], row["first_response_at"]) for row in rows]
    if as_json:
        print_json(_document(start, end, times))
    else:
        typer.echo(_csv(times), nl=False)


def _document(start: datetime, end: datetime, times: list[tuple[datetime, datetime]]) -> dict[str, Any]:
    minutes = [(answered - created).total_seconds() / 60 for created, answered in times]
    return {"from": start, "to": end, "tickets": len(times), "p95_minutes": p95_minutes(minutes)}


def _csv(times: list[tuple[datetime, datetime]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["created_at", "first_response_at"])
    writer.writerows([created.isoformat(), answered.isoformat()] for created, answered in times)
    return text.getvalue()
