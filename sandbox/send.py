"""`scripts/sandbox send`: post a sample to the webhook of a running sandbox, as Pancake does."""

import json
import os
import secrets
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx
import typer

from ops.failures import connection_reason
from sandbox.payloads import HERE

KINDS = {"happy": "01-happy-path", "no-phone": "09-unusable-phone", "duplicate": "01-happy-path"}
"""The samples of sandbox/payloads/ by their short names; each call makes another lead of one."""
TIMEOUT_SECONDS = 10.0


def send(
    what: Annotated[str, typer.Argument(help="happy, no-phone, duplicate, or a file to post as it is.")],
    env_file: Annotated[
        Path | None, typer.Option(help="What `scripts/sandbox up --env-file` wrote; else WEBHOOK_URL.")
    ] = None,
) -> None:
    """Post a lead to the webhook and print each answer; `duplicate` posts the same lead twice.

    happy and no-phone make a new lead at each call. Follow it with: scripts/leads tail
    Exit code 2: there is no such sample or file, or no WEBHOOK_URL. Exit code 3: the edge does not answer.
    """
    url = _webhook_url(env_file)
    body = _body(what)
    for _ in range(2 if what == "duplicate" else 1):
        try:
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            reason = connection_reason(error)
            typer.echo(f"The edge does not answer: {reason}. Start scripts/sandbox up.", err=True)
            raise typer.Exit(3) from error
        typer.echo(f"{answer.status_code} {answer.text}")


def new_lead(sample: str) -> dict[str, Any]:
    """Return a sample with the id, the time and, if it has a usable one, the phone of a new lead."""
    lead: dict[str, Any] = json.loads((HERE / f"{sample}.json").read_text("utf-8"))
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    lead |= {"id": str(uuid4()), "created_on": now, "modified_on": now}
    if sample == KINDS["happy"]:
        lead |= {"phone_number": f"0903{secrets.randbelow(10**6):06d}", "email": None}
    return lead


def _body(what: str) -> bytes:
    if what in KINDS:
        return json.dumps(new_lead(KINDS[what]), ensure_ascii=False).encode()
    try:
        return Path(what).read_bytes()
    except OSError as error:
        typer.echo(f"{what} is neither a file nor one of {', '.join(KINDS)}.", err=True)
        raise typer.Exit(2) from error


def _webhook_url(env_file: Path | None) -> str:
    """Read WEBHOOK_URL of the file, else of the environment."""
    url = os.environ.get("WEBHOOK_URL", "")
    if env_file is not None:
        try:
            lines = env_file.read_text("utf-8").splitlines()
        except OSError as error:
            typer.echo(f"{env_file} cannot be read. Is scripts/sandbox up running?", err=True)
            raise typer.Exit(2) from error
        quoted = dict(line.split("=", 1) for line in lines if "=" in line).get("WEBHOOK_URL", "")
        url = "".join(shlex.split(quoted))
    if not url:
        typer.echo("WEBHOOK_URL is not set: give --env-file, as for scripts/sandbox up.", err=True)
        raise typer.Exit(2)
    return url
