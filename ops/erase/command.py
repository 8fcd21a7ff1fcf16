"""The command line of `leads erase`."""

import getpass
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from leads.adapters.database import translated
from leads.domain.errors import Contended, DatabaseUnavailable
from ops.clients.db_session import QUERIES
from ops.connection.session import NEEDS, Session, open_session
from ops.edge_spool.spool import Folder, Spool
from ops.erase.erasing import Erasure, Request, erase_rows
from ops.erase.files import erase_deliveries, erase_unusable
from ops.erase.finding import find_and_lock
from ops.erase.target import Phone, Record, Target, read_target
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.output import AsJson, print_json, print_line, say, show_activity
from ops.settings import OperatorSettings, read_operator_settings

MAX_TRIES = 3
UNUSABLE = Path("backfill_normalized_phone.unusable.csv")


def erase(
    phone: Phone = None,
    record: Record = None,
    by: Annotated[str | None, typer.Option(help="Who asked for it; default: your login name.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why, without personal data: a case number.")] = None,
    edge: Annotated[bool, typer.Option("--edge", help="The edge's folders are on this machine.")] = False,
    unusable: Annotated[Path, typer.Option(help="CSV file that backfill-phones wrote.")] = UNUSABLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a customer from everything that the integration wrote.

    Prints ids and counts, and what Diva has to erase itself. What is left
    keeps the customer's old versions out; a later request is a new customer.

    Needs DATABASE_URL (the owner's) and ENCRYPTION_KEYS; --edge needs
    EDGE_STATE_KEYS too. Exit code 1: a file could not be read, or the
    customer's leads were being processed. Run it again.
    """
    target = read_target(phone, record)
    run_by = getpass.getuser()
    _refuse_personal_data(target, by, reason)
    if not (yes or dry_run):
        if as_json:
            raise WrongUsage("--json needs --yes or --dry-run.")
        typer.confirm("Erase this customer? It cannot be undone", abort=True)
    settings = read_operator_settings(*NEEDS, *(["EDGE_STATE_KEYS"] if edge else []))
    spool = _open_spool(settings) if edge else None
    with show_activity("erasing"):
        erasure = _erase_in_database(settings, target, (by or run_by, run_by, reason), dry_run=dry_run)
    unreadable: list[str] = []
    if spool:
        erasure.counts["deliveries"], unreadable = erase_deliveries(spool, target, dry_run=dry_run)
    accounts = set(erasure.diva_accounts)
    erasure.counts["unusable_phones"] = erase_unusable(unusable, target, accounts, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **erasure.as_document(), "unreadable": unreadable})
    else:
        _print(erasure, dry_run=dry_run, edge=edge)
    if erasure.unset_log_settings:
        names = ", ".join(erasure.unset_log_settings)
        say(f"PostgreSQL's log may hold the phone: the role of DATABASE_URL may not set {names}.")
        say(f"Search the log. A superuser allows it with: GRANT SET ON PARAMETER {names} TO the role.")
    for name in unreadable:
        say(f"{name} is unreadable: it may be the customer's. Remove it.")
    if unreadable:
        raise typer.Exit(ExitCode.FAILED)


def _open_spool(settings: OperatorSettings) -> Spool:
    """Open the edge's folders before anything is erased. Raises WrongUsage."""
    spool = Spool(settings.edge_state_dir, settings.edge_state_keys)
    for folder in Folder:
        spool.names(folder)
    return spool


def _erase_in_database(
    settings: OperatorSettings, target: Target, who: tuple[str, str, str | None], *, dry_run: bool
) -> Erasure:
    """Erase in one transaction, which a dry run rolls back. Raises CommandFailed."""
    for _ in range(MAX_TRIES):
        try:
            with translated(DatabaseUnavailable), open_session(settings, "erase") as session:
                erasure = _erase(session, target, who)
                if dry_run:
                    session.db.rollback()
                return erasure
        except Contended:
            continue
    raise CommandFailed("The customer's leads are being processed. Try again in a minute.")


def _erase(session: Session, target: Target, who: tuple[str, str, str | None]) -> Erasure:
    settings = session.db.execute(QUERIES["erase/set_log"]).fetchall()
    unset = [setting["name"] for setting in settings if not setting["is_set"]]
    digester = session.ring.digester()
    if target.connection:
        target = replace(target, connection_id=UUID(session.find(target.connection, "Name one of").id))
    customer = find_and_lock(session.db, target, digester)
    erasure = erase_rows(session.db, target, customer, digester, Request(*who, session.now))
    erasure.unset_log_settings = unset
    return erasure


def _refuse_personal_data(target: Target, *texts: str | None) -> None:
    """These texts are kept."""
    if any(text and target.is_in(text) for text in texts):
        raise WrongUsage("--by and --reason are kept: do not put the customer's phone into them.")


def _print(erasure: Erasure, *, dry_run: bool, edge: bool) -> None:
    print_line("Would be erased:" if dry_run else "Erased:")
    for kind, count in erasure.counts.items():
        print_line(f"  {kind.replace('_', ' ')}: {count}")
    if erasure.event_ids:
        print_line(f"  ids of the events: {', '.join(map(str, erasure.event_ids))}")
    if erasure.mentions:
        ids = ", ".join(map(str, erasure.mentions))
        print_line(f"Other records name the phone in their body. Look at these events: {ids}")
    print_line("Diva has to erase:")
    for account in erasure.diva_accounts:
        print_line(f"  account {account}: display_name, phone_number, and normalized_phone with it")
    for account in erasure.diva_consents:
        print_line(f"  customer_consent of account {account}")
    for code in erasure.diva_tickets:
        print_line(f"  ticket {code}: a person changed its text, or it is of another customer too")
    print_line("  messages that sendNotifications sent, files and calls of the tickets, backups")
    print_line("Pancake has to erase: its record of the customer")
    print_line("  do this first: a later change of that record makes a new customer")
    if not edge:
        print_line("On the edge's machine run: leads edge-spool erase with the same --phone or")
        print_line("  --record (there with the id of the connection)")
    if not erasure.has_engine_logs:
        print_line("Hasura's metadata is in another database: its logs of our crons end by retention")
