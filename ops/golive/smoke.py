"""`leads golive smoke`: one captured delivery through the public URL, until it is a ticket."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from leads.domain.event_states import AT_REST
from leads.domain.phone import read_phones
from ops.clients.db_session import QUERIES, DbSession, open_session
from ops.clients.plain_http import NoAnswer, ask
from ops.failures import CommandFailed, ExitCode, WrongUsage, file_reason
from ops.golive.commit import installed_commit
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder
from ops.golive.sending import ANSWER_SECONDS, WEBHOOK_FILE, WebhookFile, read_webhook
from ops.golive.watching import keep_document
from ops.output import AsJson, print_json, show_activity
from ops.settings import read_operator_settings

MAX_BODY_BYTES = 256 * 1024
"""What the edge accepts."""
POLL_SECONDS = 0.2
OF_THE_CUSTOMER = (
    "email", "full_address", "birthday", "pancake_customer_obj", "phone_numbers", "owner", "conversation_id",
    "facebookid",
)  # fmt: skip
"""Fields of a captured body that tell of the customer, and are left out."""


def smoke(
    body: Annotated[Path, typer.Argument(help="A captured body of Pancake, JSON.")],
    phone: Annotated[str, typer.Option(help="A colleague's phone: it takes the customer's place.")],
    wait: Annotated[float, typer.Option(help="Most seconds until the ticket.", min=1)] = 60,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the ticket open.")] = False,
    webhook_url_file: WebhookFile = WEBHOOK_FILE,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Send a captured body through the public URL, and wait for its ticket.

    It gets a new id, the name "[SMOKE] …" and the given phone; the customer's
    data are left out. Afterwards the ticket is marked as a test
    (data.golive_smoke) and cancelled; account and contact stay. The result is
    kept in the folder of the records, as evidence for D0-smoke.

    Needs DATABASE_URL (the owner's). Exit code 1: no ticket came, the text says
    why.
    """
    if not read_phones([phone]).usable:
        raise WrongUsage("--phone is not a usable phone. Give one like 0905111222.")
    webhook = read_webhook(webhook_url_file)
    sent = test_body(read_body(body), phone, datetime.now(UTC))
    record_id = str(record_of(sent)["id"])
    settings = read_operator_settings("DATABASE_URL")
    with open_session(settings.database_url, "golive smoke") as db:
        try:
            answer = ask(webhook.url, body=sent, headers=webhook.headers, timeout_seconds=ANSWER_SECONDS)
        except NoAnswer as error:
            # The message names the URL, and the URL is a secret.
            raise CommandFailed("The public URL does not answer: leads golive precheck edge") from error
        told = answer.json.get("status") if isinstance(answer.json, dict) else None
        with show_activity("waiting for the ticket"):
            row = _wait(db, record_id, wait)
        if row is not None and row["ticket_id"] and not keep:
            db.execute(QUERIES["golive/update_test_ticket"], {"ticket_id": row["ticket_id"]})
    result = {
        "kind": "smoke", "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": installed_commit(),
        "record_id": record_id, "answer": told, "answer_status": answer.status,
        "answer_seconds": round(answer.seconds, 3),
        **{name: row and row[name] for name in ("status", "outcome", "error_code", "ticket", "owner")},
        "seconds": row and row["seconds"], "is_cancelled": not keep,
    }  # fmt: skip
    problem = _problem(result, wait)
    result["ok"] = not problem
    path = keep_document(result, folder, f"smoke-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    if as_json:
        print_json(result | {"file": str(path)})
    else:
        typer.echo(
            problem
            or f"{told} in {answer.seconds * 1000:.0f} ms; ticket {result['ticket']} of {result['owner']} "
            f"after {result['seconds']:.1f} s. {path}"
        )
    raise typer.Exit(ExitCode.FAILED if problem else ExitCode.OK)


def read_body(path: Path) -> dict[str, Any]:
    """Read a captured body. Raises WrongUsage."""
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except (OSError, ValueError) as error:
        raise WrongUsage(f"{path} is no captured body: {file_reason(error)}.") from error
    if len(content) > MAX_BODY_BYTES or not isinstance(document, dict):
        raise WrongUsage(f"{path} is no captured body: it has to be a JSON object of at most 256 KiB.")
    return document


def record_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record of a body, which may be in an envelope `{event, action, data}`."""
    data = body.get("data")
    return data if isinstance(data, dict) else body


def test_body(body: Mapping[str, Any], phone: str, now: datetime) -> dict[str, Any]:
    """Return the body as a new record of a colleague, without what tells of the customer."""
    moment = now.replace(tzinfo=None).isoformat(timespec="microseconds")
    kept = {name: value for name, value in record_of(body).items() if name not in OF_THE_CUSTOMER}
    record = kept | {
        "id": f"golive-smoke-{now:%Y%m%d%H%M%S%f}", "name": f"[SMOKE] {now:%Y-%m-%d %H:%M}",
        "phone_number": phone, "created_on": moment, "modified_on": moment,
    }  # fmt: skip
    return {**body, "data": record} if record_of(body) is not body else record


def _wait(db: DbSession, record_id: str, seconds: float) -> Mapping[str, Any] | None:
    """Return the event of the record when it is final, or as it is when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        row = db.execute(QUERIES["golive/load_record"], {"record_id": record_id}).fetchone()
        if (row is not None and row["status"] in AT_REST) or time.monotonic() > deadline:
            return row
        time.sleep(POLL_SECONDS)


def _problem(result: Mapping[str, Any], wait: float) -> str:
    """Say why there is no ticket; empty if there is one."""
    if result["ticket"]:
        return ""
    if result["answer_status"] != 200 or result["answer"] in (None, "unknown_token"):
        return f"The public URL answered {result['answer_status']}, {result['answer']}: docs/edge.md."
    if result["status"] is None:
        return f"It was answered {result['answer']}, and is not stored after {wait:g} s: leads status."
    return (
        f"Its event is {result['status']} {result['error_code'] or result['outcome'] or ''}: "
        f"leads trace {result['record_id']}."
    )
