"""Run a cron through the handlers as Hasura does: again while they answer 503 with Retry-After."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from leads.adapters.pancake_api import read_retry_after
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, DRY_RUN
from ops.clients.plain_http import HttpAnswer, ask
from ops.failures import CommandFailed, WrongUsage

REQUEST_SECONDS = ANSWER_WITHIN_SECONDS + 2
SECRET_HEADER = "X-Handler-Secret"  # noqa: S105 - the name of a header


def run_to_its_end(
    handlers_url: str,
    secret: str,
    name: str,
    tick: datetime,
    wait: Callable[[float], None] = time.sleep,
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Return the answer of the finished run, or of the one call of a dry run. `wait` gets seconds.

    Raises NoAnswer; WrongUsage if the handlers refuse the secret; CommandFailed if the run failed.
    """
    body = {
        "id": str(uuid4()),
        "name": f"pancake_{name}",
        "scheduled_time": tick.isoformat(),
        "payload": {DRY_RUN: True} if dry_run else {},
    }
    while True:
        answer = ask(
            f"{handlers_url}/cron/{name}",
            body=body,
            headers={SECRET_HEADER: secret},
            timeout_seconds=REQUEST_SECONDS,
        )
        if answer.status != 503 or answer.retry_after is None:
            return _read(answer, name)
        wait(read_retry_after(answer.retry_after, datetime.now(UTC)))


def _read(answer: HttpAnswer, name: str) -> dict[str, Any]:
    found = answer.json if isinstance(answer.json, dict) else {}
    if answer.status == 200 and "result" in found:
        return dict(found)
    if answer.status == 401:
        raise WrongUsage("The handlers do not accept the secret. Check HANDLER_SECRET.")
    message = str(found.get("message", f"status {answer.status}"))[:300]
    raise CommandFailed(f"{name} failed: {message}\nSee its runs with: leads cron list")
