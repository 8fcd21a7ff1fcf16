"""The command line of `leads report`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from ops.clients.db_session import open_session
from ops.failures import WrongUsage
from ops.output import AsJson, ForeignTextConsole, print_json
from ops.report.csv_file import csv_text
from ops.report.figures import load_report
from ops.report.html_page import html_page
from ops.report.period import read_period
from ops.report.text import print_report
from ops.settings import read_operator_settings

DAY = ["%Y-%m-%d"]


def report(
    week: Annotated[
        int | None, typer.Option(help="An ISO week, the newest of that number.", min=1, max=53)
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="The first day, in Vietnam.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=DAY, help="The last day; without it today.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print a page for managers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show managers what happened to the leads of a week: sources, response times, owners.

    Without a period it is the last week that is over. The figures are counted as the key figures are. Needs
    DATABASE_URL.
    """
    if as_csv + as_html + as_json > 1:
        raise WrongUsage("Give one of --csv, --html and --json.")
    period = read_period(week, first and first.date(), last and last.date(), datetime.now(UTC))
    with open_session(read_operator_settings("DATABASE_URL").database_url, "report") as db:
        found = load_report(db, period)
    if as_json:
        print_json(found.document())
    elif as_csv:
        typer.echo(csv_text(found), nl=False)
    elif as_html:
        typer.echo(html_page(found), nl=False)
    else:
        print_report(found, ForeignTextConsole())
