"""The command line of `leads golive drill`."""

import getpass
import hashlib
import json
import os
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.failures import ExitCode, WrongUsage
from ops.golive.commit import CLONE
from ops.golive.criterion import SIGNS
from ops.golive.deploy.plan_file import read_plan_file
from ops.golive.deploy.site import Choices, Site, open_site
from ops.golive.drill.counting import NAMED as NAMED_IDS
from ops.golive.drill.counting import Ledger, wait_until_final
from ops.golive.drill.sender import Sender, read_webhook
from ops.golive.drill.telling import Told, tell
from ops.golive.drill.tiers import TIERS, Drill
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder
from ops.golive.precheck.evaluating import PLAN, PlanOption
from ops.metadata.deploy import BACKUPS, Folder, Source
from ops.output import AsJson, print_json, say, show_activity
from ops.switches import list_switches

WEBHOOK_FILE = Path("webhook-url.txt")
STEADY = 0.95
"""The share of the planned rate that the traffic has to keep."""
WebhookFile = Annotated[
    Path, typer.Option("--webhook-url-file", help="The file that leads connection create wrote.")
]


class Tier(StrEnum):
    """A tier of the rollback: switches, services, schema."""

    ONE, TWO, THREE = "tier1", "tier2", "tier3"


def drill(
    tier: Annotated[Tier, typer.Argument(help="tier1: switches, tier2: handlers, tier3: schema.")],
    database: Annotated[
        str, typer.Option(help="Name of the staging database: it has to be that of DATABASE_URL.")
    ],
    rate: Annotated[float, typer.Option(help="Test leads a second.", min=1, max=100)] = 20,
    warm_up: Annotated[float, typer.Option(help="Seconds of traffic before, and after.", min=1)] = 10,
    finish: Annotated[float, typer.Option(help="Most seconds until every lead is done.", min=10)] = 600,
    webhook_url_file: WebhookFile = WEBHOOK_FILE,
    by: Annotated[str, typer.Option(help="Who leads the drill; default: your login name.")] = "",
    file: PlanOption = PLAN,
    folder: RecordsFolder = DEFAULT_RECORDS,
    backups: Folder = BACKUPS,
    source: Source = "default",
    programs: Annotated[Path | None, typer.Option(help="Folder of pg_dump; default: PATH.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse a tier of the rollback in staging, under traffic, and time it.

    Never in production: test leads become tickets, and tier3 drops the tables.
    The time runs from the first command until the effect is seen. Afterwards
    everything is brought back, and every test lead is counted by its id.

    Needs what deploy needs. The result is evidence for its G-8-tier: attest it.
    Exit code 1: too slow, a lead not stored or doubled, less than 95 % of the rate,
    a step failed, or `tell` of golive.yaml is missing or did not tell in time.
    """
    webhook = read_webhook(webhook_url_file)
    choices = Choices(
        folder, read_plan_file(file), by or getpass.getuser(), backups, source,
        CLONE / "hasura" / "migrations" / "default", programs, anytime=True,
    )  # fmt: skip
    with open_site(choices) as site:
        _check_staging(site, database)
        workspace, source_id = _traffic_of(site)
        prefix = f"golive-drill-{datetime.now(UTC):%Y%m%d%H%M%S}-"
        sender = Sender(webhook, prefix, rate, source_id, workspace)
        result = _run_drill(Drill(site, sender), int(tier.value[-1]), (rate, warm_up, finish))
        path, digest = _keep(site, tier, result)
    if as_json:
        print_json(result | {"file": str(path), "sha256": digest})
    else:
        _print(result, path, digest)
    raise typer.Exit(ExitCode.OK if result["ok"] else ExitCode.FAILED)


def _check_staging(site: Site, database: str) -> None:
    name = site.row("golive/load_database")["name"]
    if name != database:
        raise WrongUsage(f"DATABASE_URL is the database {name!r}, not {database!r}. Nothing was changed.")


def _traffic_of(site: Site) -> tuple[int, str]:
    """Return the workspace and an active source for the test leads. Raises WrongUsage."""
    if site.plan.pancake is None:
        raise WrongUsage("golive.yaml has no pancake.workspace, which the test leads name.")
    for switch in list_switches(site.db):
        if switch.kind == "source" and switch.is_on and switch.pancake_source_id:
            return site.plan.pancake.workspace, switch.pancake_source_id
    raise WrongUsage("No source is active: leads switch source NAME on --reason TEXT")


def _run_drill(drill: Drill, tier: int, plan: tuple[float, float, float]) -> dict[str, Any]:
    rate, warm_up, finish = plan
    roll_back, bring_back, limit = TIERS[tier]
    begun_at = datetime.now(UTC)
    with drill.sender:
        say(f"Tier {tier}: {rate:g} test leads a second, {warm_up:g} s of traffic first ...")
        time.sleep(warm_up)
        started = time.monotonic()
        told = tell(drill.site, tier, started)
        roll_back(drill)
        rolled_back = time.monotonic()
        say(f"Rolled back after {rolled_back - started:.1f} s. Bringing everything back ...")
        bring_back(drill)
        back = time.monotonic()
        time.sleep(warm_up)
        drill.sender.stop()
    with show_activity("waiting until every lead is done"):
        ledger = wait_until_final(drill.site, drill.sender.prefix, drill.sender.sent, finish)
    times = {
        "minutes": round((rolled_back - started) / 60, 3),
        "minutes_back": round((back - rolled_back) / 60, 3),
    }
    is_steady = drill.sender.sent.per_second >= rate * STEADY
    return _result(drill, tier, begun_at, times, told, ledger) | {
        "rate": rate,
        "limit_minutes": limit.minutes,
        "ok": limit.is_kept_by(times["minutes"]) and ledger.is_fine and told.is_in_time and is_steady,
    }


def _result(
    drill: Drill, tier: int, begun_at: datetime, times: dict[str, float], told: Told, ledger: Ledger
) -> dict[str, Any]:
    sent = drill.sender.sent
    return {
        "kind": "drill",
        "tier": tier,
        "at": begun_at.isoformat(timespec="seconds"),
        "commit": drill.site.journal.commit,
        "by": drill.site.journal.by,
        "database": drill.site.db.info.dbname,
        **times,
        "sent": len(sent.ids),
        "achieved_per_second": round(sent.per_second, 2),
        "acknowledged": len(sent.accepted),
        "answers": dict(sorted(sent.answers.items())),
        "slowest_answer_seconds": round(sent.slowest_seconds, 3),
        "processed": ledger.processed,
        "lost": len(ledger.lost),
        "unacknowledged": len(ledger.unacknowledged),
        "doubled": len(ledger.doubled),
        "unfinished": len(ledger.unfinished),
        "unexpected": len(ledger.unexpected),
        "ids": {
            "lost": ledger.lost[:NAMED_IDS], "unacknowledged": ledger.unacknowledged[:NAMED_IDS],
            "doubled": ledger.doubled[:NAMED_IDS], "unfinished": ledger.unfinished[:NAMED_IDS],
            "unexpected": ledger.unexpected[:NAMED_IDS],
        },
        "told": {
            "audience": told.announcement.audience, "channel": told.announcement.channel,
            "within_minutes": told.announcement.within_minutes, "after_minutes": told.after_minutes,
            "in_time": told.is_in_time,
        },
    }  # fmt: skip


def _keep(site: Site, tier: Tier, result: dict[str, Any]) -> tuple[Path, str]:
    """Write the result beside the journal; return the file and its SHA-256."""
    path = site.folder / f"drill-{tier}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    content = (json.dumps(result, ensure_ascii=False, indent=2) + "\n").encode()
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(content).hexdigest()
    site.journal.write("drill", tier, file=path.name, sha256=digest, ok=result["ok"])
    return path, digest


def _print(result: dict[str, Any], path: Path, digest: str) -> None:
    told = result["told"]
    was_told = told["after_minutes"] is not None
    limit = TIERS[result["tier"]][2]
    shown = f"{SIGNS.get(limit.operator, limit.operator)} {limit.minutes:g}"
    when = f"after {told['after_minutes']} min" if was_told else "which did not happen"
    typer.echo(
        f"Tier {result['tier']}: rolled back in {result['minutes']:.2f} min "
        f"({shown}), back to normal in {result['minutes_back']:.2f} min.\n"
        f"Leads: {result['sent']} sent, {result['achieved_per_second']:.1f} a second of {result['rate']:g}, "
        f"{result['acknowledged']} acknowledged, {result['processed']} processed.\n"
        f"Of them {result['lost']} lost, {result['unacknowledged']} unacknowledged and not stored, "
        f"{result['doubled']} doubled, {result['unfinished']} unfinished.\n"
        f"Told: {told['audience']} by {told['channel']}, {when} (at most {told['within_minutes']}).\n"
        f"{path}\nsha256 {digest}"
    )
