"""Test leads for the public URL: `leads golive smoke` sends one, a drill steady traffic."""

import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import typer

from leads.domain.canonical_json import MAX_BODY_BYTES
from leads.domain.event_states import AT_REST
from leads.domain.phone import read_phones
from ops.clients.db_session import QUERIES, DbSession, open_session
from ops.clients.plain_http import HttpAnswer, NoAnswer, ask
from ops.failures import CommandFailed, WrongUsage, fail_if, file_reason
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder, keep_document
from ops.golive.measuring import load_installation
from ops.output import AsJson, print_result, show_activity
from ops.settings import installed_commit, read_argument, read_operator_settings
from ops.waiting import poll

WEBHOOK_FILE = Path("webhook-url.txt")
WebhookFile = Annotated[
    Path, typer.Option("--webhook-url-file", help="The file that leads connection create wrote.")
]
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.5
OF_THE_CUSTOMER = (
    "email", "full_address", "birthday", "pancake_customer_obj", "phone_numbers", "owner", "conversation_id",
    "facebookid",
)  # fmt: skip
"""Fields of a captured body that tell of the customer, and are left out."""
AT_ONCE = 64
"""Requests at a time; more would only measure this machine."""
ACCEPTED = ("received", "duplicate", "skipped_kill_switch", "skipped_source_disabled", "spooled")
"""What the edge answers for a lead that is stored, or kept on its disk."""


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    def post(self, body: Mapping[str, Any]) -> tuple[HttpAnswer, str | None]:
        """Return the answer, and what the edge says in it, None if another answered. Raises NoAnswer."""
        answer = ask(self.url, body=body, headers=self.headers, timeout_seconds=ANSWER_SECONDS)
        return answer, answer.json.get("status") if isinstance(answer.json, dict) else None


def read_webhook(path: Path) -> Webhook:
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeError) as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}. Give --webhook-url-file.") from error
    if not lines[0].startswith("http"):
        raise WrongUsage(f"{path} does not begin with a URL: it is not a file of leads connection create.")
    name, _, value = lines[1].partition(": ") if len(lines) > 1 else ("", "", "")
    return Webhook(lines[0].strip(), {name: value.strip()} if value else {})


@dataclass(slots=True)
class Sent:
    """What was sent: record ids by their answer. `slowest_seconds` is of those that were answered.

    `first_at` and `last_at` are when the first and the last lead were sent, by time.monotonic().
    """

    ids: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def per_second(self) -> float:
        """The rate at which leads were sent, not the planned one; 0 of fewer than two."""
        seconds = self.last_at - self.first_at
        return (len(self.ids) - 1) / seconds if seconds > 0 else 0.0


class Sender:
    """Posts test leads at a constant rate between `__enter__` and `stop`; a context manager."""

    def __init__(self, webhook: Webhook, prefix: str, rate: float, source: str, workspace: int) -> None:
        self.sent = Sent()
        self.prefix = prefix
        self._webhook = webhook
        self._rate = rate
        self._lead = {
            "type": "records", "event_type": "insert", "workspace_id": workspace, "source": [source],
            "table_id": "lead",
        }  # fmt: skip
        self._is_stopping = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, "drill")
        self._pacer = threading.Thread(target=self._pace, daemon=True)
        self._first_phone = int(time.time()) % 800 * 100_000 + 10_000_000

    def _pace(self) -> None:
        """Post at the planned times: a slow answer delays no other lead."""
        started = time.monotonic()
        number = 0
        while not self._is_stopping.is_set():
            number += 1
            self._pool.submit(self._post, number)
            self._is_stopping.wait(max(0.0, started + number / self._rate - time.monotonic()))

    def _post(self, number: int) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        record_id = f"{self.prefix}{number:06d}"
        lead = self._lead | {
            "id": record_id, "name": f"DIỄN TẬP {number}", "created_on": now, "modified_on": now,
            "phone_number": f"09{self._first_phone + number:08d}",
        }  # fmt: skip
        sent = self.sent
        with self._lock:
            started = sent.last_at = time.monotonic()
            sent.first_at = sent.first_at or started
            sent.ids.append(record_id)
        status, seconds = self._ask(lead)
        with self._lock:
            sent.answers[status] = sent.answers.get(status, 0) + 1
            sent.slowest_seconds = max(sent.slowest_seconds, seconds)
            if status in ACCEPTED:
                sent.accepted.add(record_id)

    def _ask(self, lead: dict[str, Any]) -> tuple[str, float]:
        try:
            answer, status = self._webhook.post(lead)
        except NoAnswer:
            return "no answer", 0.0
        return str(status) if answer.status == 200 else f"status {answer.status}", answer.seconds

    def is_known(self, url: str) -> bool:
        try:
            answer, status = replace(self._webhook, url=url).post({})
        except NoAnswer:
            return False
        return answer.status == 200 and status != "unknown_token"

    def move(self, url: str) -> None:
        self._webhook = replace(self._webhook, url=url)

    def stop(self) -> None:
        self._is_stopping.set()
        self._pacer.join()
        self._pool.shutdown(wait=True)

    def __enter__(self) -> Self:
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


WRONG = ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
"""What can be wrong with a test lead. Neither lost nor unacknowledged ones are stored: the edge accepted the
lost ones, the others got no answer or an error. Unexpected ones were stored and never sent."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """How many test leads were processed, and the ids of the others by what is wrong with them."""

    processed: int
    wrong: dict[str, list[str]]

    @property
    def is_waiting(self) -> bool:
        """Whether a lead is not stored or not finished, which time can mend."""
        return any(self.wrong[name] for name in ("lost", "unacknowledged", "unfinished"))


def count_records(db: DbSession, prefix: str, sent: Sent) -> Ledger:
    """Compare what was sent with what is stored, with or without an answer."""
    rows = db.execute(QUERIES["golive/list_drill_records"], {"prefix": prefix}).fetchall()
    stored = {row["record_id"]: row for row in rows}
    found = {
        "lost": sent.accepted - stored.keys(),
        "unacknowledged": set(sent.ids) - sent.accepted - stored.keys(),
        "doubled": {name for name, row in stored.items() if row["events"] > 1 or row["tickets"] > 1},
        "unfinished": {
            name for name, row in stored.items() if not row["is_processed"] or row["tickets"] == 0
        },
        "unexpected": stored.keys() - set(sent.ids),
    }
    processed = sum(bool(row["is_processed"]) for row in rows)
    return Ledger(processed, {name: sorted(found[name]) for name in WRONG})


def wait_until_final(db: DbSession, prefix: str, sent: Sent, seconds: float) -> Ledger:
    for _ in poll(seconds, POLL_SECONDS):
        ledger = count_records(db, prefix, sent)
        if not ledger.is_waiting:
            break
    return ledger


def smoke(
    body: Annotated[Path, typer.Argument(help="A captured body of Pancake, JSON.")],
    phone: Annotated[
        str, typer.Option(help="A colleague's phone, for the customer's; - asks, or reads stdin.")
    ],
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
    kept in the folder of the records, as evidence for D0-smoke, on staging for G-6.

    Needs DATABASE_URL (the owner's). Exit code 1: no ticket came, the text says
    why.
    """
    phone = read_argument(phone, "Phone of a colleague")
    if not read_phones([phone]).usable:
        raise WrongUsage("--phone is not a usable phone. Give one like 0905111222.")
    webhook = read_webhook(webhook_url_file)
    sent = test_body(read_body(body), phone, datetime.now(UTC))
    record_id = str(record_of(sent)["id"])
    settings = read_operator_settings("DATABASE_URL", may_have=("HASURA_URL", "PUBLIC_URL"))
    with open_session(settings.database_url, "golive smoke") as db:
        installation = load_installation(db, settings)
        try:
            answer, told = webhook.post(sent)
        except NoAnswer as error:
            # The message names the URL, and the URL is a secret.
            raise CommandFailed("The public URL does not answer: leads golive precheck edge") from error
        with show_activity("waiting for the ticket"):
            row = _wait(db, record_id, wait)
        if row is not None and row["ticket_id"] and not keep:
            db.execute(QUERIES["golive/update_test_ticket"], {"ticket_id": row["ticket_id"]})
    result = {
        "kind": "smoke", "at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": installed_commit(),
        "installation": installation, "record_id": record_id, "answer": told, "answer_status": answer.status,
        "answer_seconds": round(answer.seconds, 3),
        **{name: row and row[name] for name in ("status", "outcome", "error_code", "ticket", "owner")},
        "seconds": row and row["seconds"], "is_cancelled": not keep,
    }  # fmt: skip
    problem = _problem(result, wait)
    result["ok"] = not problem
    path = keep_document(result, folder, f"smoke-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    text = problem or (
        f"{told} in {answer.seconds * 1000:.0f} ms; ticket {result['ticket']} of {result['owner']} "
        f"after {result['seconds']:.1f} s. {path}"
    )
    print_result(result | {"file": str(path)}, text, as_json=as_json)
    fail_if(problem)


def read_body(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
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
    for _ in poll(seconds, POLL_SECONDS):
        row = db.execute(QUERIES["golive/load_record"], {"record_id": record_id}).fetchone()
        if row is not None and row["status"] in AT_REST:
            break
    return row


def _problem(result: Mapping[str, Any], wait: float) -> str:
    if result["ticket"]:
        return ""
    if result["answer_status"] != 200 or result["answer"] in (None, "unknown_token"):
        return f"The public URL answered {result['answer_status']}, {result['answer']}: docs/runbook/edge.md."
    if result["status"] is None:
        return f"It was answered {result['answer']}, and is not stored after {wait:g} s: leads status."
    return (
        f"Its event is {result['status']} {result['error_code'] or result['outcome'] or ''}: "
        f"leads trace {result['record_id']}."
    )
