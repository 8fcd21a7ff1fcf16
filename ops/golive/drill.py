"""`leads golive drill`: a tier of the rollback, rehearsed in staging under steady traffic and timed.

The tiers are those of section E5 of the checklist and of docs/runbook/rollback.md.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import typer

from ops.checks.handlers import look_at_handlers
from ops.checks.services import HasuraSource
from ops.clients.db_session import QUERIES, login_name
from ops.clients.pg_programs import restore_rows
from ops.clients.plain_http import NoAnswer
from ops.failures import CommandFailed, WrongUsage, fail_if
from ops.files import digest_of_file, write_file
from ops.golive.criterion import Criterion, find_criterion
from ops.golive.deploy.command import Outcome, Programs, act, bring_forward, take_back
from ops.golive.deploy.site import PLAN, Choices, PlanOption, Site, open_site, read_plan_file
from ops.golive.deploy.step import Action, State, function, program, verb
from ops.golive.deploy.steps import OWN_TABLES, ROLES, check, find_step, migration_ids, take_snapshot
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder, keep_document
from ops.golive.measuring import load_installation
from ops.golive.sending import WEBHOOK_FILE, WRONG, Sender, WebhookFile, read_webhook, wait_until_final
from ops.metadata.deploy import BACKUPS, Folder
from ops.output import AsJson, print_result, say, show_activity
from ops.settings import MIGRATIONS_FOLDER
from ops.switches import list_switches
from ops.waiting import poll

STEADY = 0.95
"""The share of the planned rate that the traffic has to keep."""
MAX_IDS = 50
"""How many ids the result names of each kind."""
REASON = "rollback drill"
ENOUGH = 5
"""Leads in a row that have to show the effect."""
EFFECT_SECONDS = 120.0
POLL_SECONDS = 0.25
ROWS_FILE = "rows-of-drill"
RESTORE = ("pg_restore", "--data-only", "--disable-triggers")
AFTERWARDS = "what is where: leads golive deploy --check"
BEGUN, ENDED, SETTINGS = "drill begun", "drill", "settings"


def drill(
    tier: Annotated[
        Literal["tier1", "pause", "tier2", "tier3", "tier4"],
        typer.Argument(help="tier1: kill switch, tier2: handlers, tier3: schema, tier4: a new webhook URL."),
    ],
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
    source: HasuraSource = "default",
    programs: Programs = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse a tier of the rollback in staging, under traffic, and time it.

    Never in production: test leads become tickets, and tier3 drops the tables.
    The time runs from the first command until the effect is seen. Afterwards
    everything is brought back, and every test lead is counted by its id. After a
    drill that was stopped the next one first brings everything back.

    Needs what deploy needs. The result is evidence for its G-8-tier: attest it.
    Exit code 1: too slow, a lead not stored or doubled, less than 95 % of the rate,
    a step failed, or `tell` of golive.yaml is missing or did not tell in time.
    """
    webhook = read_webhook(webhook_url_file)
    choices = Choices(
        folder, read_plan_file(file), by or login_name(), backups, source,
        MIGRATIONS_FOLDER, programs, anytime=True,
    )  # fmt: skip
    with open_site(choices) as site:
        name = site.row("golive/load_database")["name"]
        if name != database:
            raise WrongUsage(f"DATABASE_URL is the database {name!r}, not {database!r}. Nothing was changed.")
        _finish_stopped(site, webhook_url_file, rate)
        workspace, source_id = _traffic_of(site)
        prefix = f"golive-drill-{datetime.now(UTC):%Y%m%d%H%M%S}-"
        sender = Sender(webhook, prefix, rate, source_id, workspace)
        site.journal.write(BEGUN, tier, prefix=prefix, workspace=workspace, source=source_id)
        result = run_drill(Drill(site, sender, webhook_url_file), TIERS[tier], rate, warm_up, finish)
        result["installation"] = load_installation(site.db, site.settings, site.engine)
        path = keep_document(result, folder, f"drill-{tier}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        digest = digest_of_file(path)
        site.journal.write(ENDED, tier, file=path.name, sha256=digest, ok=result["ok"])
    text = "\n".join([_text(result, TIERS[tier]), f"{path}", f"sha256 {digest}", *_remaining(site)])
    print_result(result | {"file": str(path), "sha256": digest}, text, as_json=as_json)
    fail_if(not result["ok"])


def _traffic_of(site: Site) -> tuple[int, str]:
    if site.plan.pancake is None:
        raise WrongUsage("golive.yaml has no pancake.workspace, which the test leads name.")
    sources = [each for each in list_switches(site.db) if each.kind == "source"]
    for switch in sources:
        if switch.is_on and switch.pancake_source_id:
            return site.plan.pancake.workspace, switch.pancake_source_id
    names = [site.plan.source, *(each.name for each in sources if each.can_be_on)]
    name = next(filter(None, names), None)
    cure = f"leads switch source {quote(name)} on --reason drill" if name else "leads cron run sync_sources"
    raise WrongUsage(f"No source is active: {cure}")


@dataclass(frozen=True, slots=True)
class Drill:
    site: Site
    sender: Sender
    webhook_file: Path

    def do(self, step: str, *actions: Action) -> None:
        for action in actions:
            if not act(self.site, find_step(step), action):
                raise CommandFailed(f"{' '.join(action.argv)} failed. See the lines above; {AFTERWARDS}")

    def switch(self, name: str, state: str) -> datetime:
        self.do("14", verb("switch", name, state, "--reason", REASON))
        return self.now()

    def forward(self, *steps: str) -> None:
        for step in steps:
            self._check(bring_forward(self.site, find_step(step)))

    def back(self, *steps: str) -> None:
        for step in steps:
            self._check(take_back(self.site, find_step(step), is_confirmed=False))

    def _check(self, outcome: Outcome) -> None:
        if outcome.stops:
            raise CommandFailed(f"Step {outcome.step.id} {outcome.result}. {AFTERWARDS.capitalize()}")

    def wait(self, what: str, is_reached: Callable[[], bool]) -> None:
        for _ in poll(EFFECT_SECONDS, POLL_SECONDS):
            if is_reached():
                break
        else:
            raise CommandFailed(f"{what} did not happen within {EFFECT_SECONDS:.0f} s; {AFTERWARDS}")
        say(f"  {what}.")

    def now(self) -> datetime:
        at: datetime = self.site.row("golive/load_database")["now"]
        return at

    def count(self, since: datetime, state: str) -> int:
        """Count the test leads stored since then that are `held`, `processed`, or all `events`."""
        return int(self.site.row("golive/count_drill_events", prefix=self.sender.prefix, since=since)[state])

    def wait_for_accepted(self, what: str) -> None:
        accepted = self.sender.sent.accepted
        before = len(accepted)
        self.wait(what, lambda: len(accepted) >= before + ENOUGH)

    def wait_for_tickets(self, since: datetime) -> None:
        self.wait(f"{ENOUGH} new leads made tickets", lambda: self.count(since, "processed") >= ENOUGH)


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of the rollback: recipients, channel and deadline of the notice, what is timed, the way back.

    The pause belongs to tier 1, and has the number 0.
    """

    number: int
    name: str
    audience: str
    channel: str
    within_minutes: int
    roll_back: Callable[[Drill], None]
    bring_back: Callable[[Drill], None]

    @property
    def limit(self) -> Criterion:
        return find_criterion(f"G-8-{self.name.lower().replace(' ', '')}")


def _finish_stopped(site: Site, webhook_file: Path, rate: float) -> None:
    entries = site.journal.entries(BEGUN, ENDED)
    if not entries or entries[-1]["event"] == ENDED:
        return
    begun = entries[-1]
    say(f"The drill {begun['step']} of {begun['at']} was stopped. Bringing everything back ...")
    prefix = f"{begun['prefix']}again-"
    with Sender(read_webhook(webhook_file), prefix, rate, begun["source"], begun["workspace"]) as sender:
        TIERS[begun["step"]].bring_back(Drill(site, sender, webhook_file))
    site.journal.write(ENDED, begun["step"], ok=False)
    say("\n".join(["It is back.", *_remaining(site)]))


def _remaining(site: Site) -> list[str]:
    """Name the dumps of drills that are still there: they hold customers' data."""
    dumps = sorted(site.folder.glob(f"*-{ROWS_FILE}.dump*"))
    return [f"Delete {path}: it holds the rows of leads." for path in dumps]


def run_drill(drill: Drill, tier: Tier, rate: float, warm_up: float, finish: float) -> dict[str, Any]:
    """Roll back and bring back under traffic; return what the file of evidence holds."""
    site, sent = drill.site, drill.sender.sent
    begun_at = datetime.now(UTC)
    with drill.sender:
        say(f"{tier.name}: {rate:g} test leads a second, {warm_up:g} s of traffic first ...")
        time.sleep(warm_up)
        started = time.monotonic()
        told = tell(site, tier, started)
        tier.roll_back(drill)
        rolled_back = time.monotonic()
        say(f"Rolled back after {rolled_back - started:.1f} s. Bringing everything back ...")
        tier.bring_back(drill)
        back = time.monotonic()
        time.sleep(warm_up)
        drill.sender.stop()
    with show_activity("waiting until every lead is done"):
        ledger = wait_until_final(site.db, drill.sender.prefix, sent, finish)
    minutes = round((rolled_back - started) / 60, 3)
    is_steady = sent.per_second >= rate * STEADY
    is_fine = tier.limit.is_met_by(minutes) and not any(ledger.wrong.values())
    return {
        "kind": "drill", "tier": tier.number, "at": begun_at.isoformat(timespec="seconds"),
        "commit": site.journal.commit, "by": site.journal.by, "database": site.db.info.dbname,
        "minutes": minutes, "minutes_back": round((back - rolled_back) / 60, 3),
        "sent": len(sent.ids), "achieved_per_second": round(sent.per_second, 2),
        "acknowledged": len(sent.accepted), "answers": dict(sorted(sent.answers.items())),
        "slowest_answer_seconds": round(sent.slowest_seconds, 3), "processed": ledger.processed,
        **{name: len(ledger.wrong[name]) for name in WRONG},
        "ids": {name: ledger.wrong[name][:MAX_IDS] for name in WRONG},
        "told": told, "rate": rate, "limit_minutes": tier.limit.target,
        "ok": is_fine and told["in_time"] and is_steady,
    }  # fmt: skip


def _text(result: dict[str, Any], tier: Tier) -> str:
    told = result["told"]
    when = "which did not happen" if told["after_minutes"] is None else f"after {told['after_minutes']} min"
    return (
        f"{tier.name}: rolled back in {result['minutes']:.2f} min "
        f"({tier.limit.shown_target.removesuffix(' min')}), back to normal in "
        f"{result['minutes_back']:.2f} min.\n"
        f"Leads: {result['sent']} sent, {result['achieved_per_second']:.1f} a second of {result['rate']:g}, "
        f"{result['acknowledged']} acknowledged, {result['processed']} processed.\n"
        f"Of them {result['lost']} lost, {result['unacknowledged']} unacknowledged and not stored, "
        f"{result['doubled']} doubled, {result['unfinished']} unfinished.\n"
        f"Told: {told['audience']} by {told['channel']}, {when} (at most {told['within_minutes']})."
    )


def tell(site: Site, tier: Tier, started: float) -> dict[str, Any]:
    """Run the command `tell` of golive.yaml with channel, audience and text; without it say what to do.

    `started` is when the tier began, by time.monotonic(). `after_minutes` of the result is None if people
    were not told.
    """
    audience, channel, within, after = tier.audience, tier.channel, tier.within_minutes, None
    where = site.db.info.dbname
    text = f"Drill: {tier.name.lower()} of the rollback begins. This is a rehearsal in {where}."
    if not site.plan.tell:
        say(f"Tell {audience} within {within} min, by {channel}: {text}")
    elif code := program((*site.plan.tell, channel, audience, text)).run()[0]:
        say(f"They were not told: {site.plan.tell[0]} ended with {code}.")
    else:
        after = round((time.monotonic() - started) / 60, 2)
    return {
        "audience": audience, "channel": channel, "within_minutes": within, "after_minutes": after,
        "in_time": after is not None and after <= within,
    }  # fmt: skip


def hold(drill: Drill, switch: str, state: str, words: str) -> None:
    since = drill.switch(switch, "on")
    drill.wait(
        f"{ENOUGH} leads are {words}, and none made a ticket",
        lambda: drill.count(since, state) >= ENOUGH and drill.count(since, "processed") == 0,
    )


def tier1(drill: Drill) -> None:
    hold(drill, "kill", "held", "held")


def after_tier1(drill: Drill) -> None:
    """Let leads become tickets again, those that were held too."""
    since = drill.switch("kill", "off")
    drill.do("14", verb("replay", "--status", "skipped_kill_switch", "--drain", "--no-wait"))
    drill.wait_for_tickets(since)


def pause(drill: Drill) -> None:
    hold(drill, "pause", "events", "stored")


def after_pause(drill: Drill) -> None:
    """Let leads become tickets again; those that wait follow by themselves."""
    drill.wait_for_tickets(drill.switch("pause", "off"))


def tier2(drill: Drill) -> None:
    service = drill.site.plan.service("handlers")
    if not service.back:
        raise CommandFailed("golive.yaml has no services.handlers.back: the command that brings them back.")
    tier1(drill)
    drill.do("11", program(service.back))
    drill.wait(f"The former handlers answer {service.former_version}".rstrip(), lambda: _is_former(drill))
    after_tier1(drill)


def after_tier2(drill: Drill) -> None:
    drill.do("11", program(drill.site.plan.service("handlers").do))
    drill.wait("The new handlers answer", lambda: check(drill.site, find_step("11")).state is State.DONE)


def _is_former(drill: Drill) -> bool:
    wanted = drill.site.plan.service("handlers").former_version
    try:
        look = look_at_handlers(drill.site.settings.handlers_url)
    except NoAnswer:
        return False
    told = look.health.json.get("version") if isinstance(look.health.json, dict) else None
    return (not wanted or told == wanted) and (look.ready or {}).get("database") is not False


def tier3(drill: Drill) -> None:
    tier1(drill)
    drill.back("9b", "9a", ROLES)
    drill.site.journal.write(SETTINGS, "8", **drill.site.row("golive/load_settings"))
    # Only now nothing can store a lead any more: one that came after the dump would be lost.
    drill.do("4", take_snapshot(drill.site, ROWS_FILE, (), OWN_TABLES))
    drill.back(*reversed(migration_ids()))
    drill.wait_for_accepted("The edge keeps what arrives")


def after_tier3(drill: Drill) -> None:
    """Apply schema, rows and metadata again, and let leads become tickets."""
    drill.forward(*migration_ids())
    drill.do("4", function(RESTORE, lambda: _restore(drill.site)))
    # Without rights the handlers store nothing, and hear of no connection, before its rows are back.
    drill.forward(ROLES, "9a", "9b")
    after_tier1(drill)


def tier4(drill: Drill) -> None:
    """Change the webhook's URL: the old one works on, then the new one."""
    pancake = drill.site.plan.pancake
    new = drill.site.folder / f"{drill.sender.prefix}url.txt"
    name = ("--connection", pancake.name) if pancake else ()
    drill.do("13", verb("connection", "rotate-token", "--again", *name, "--out", str(new)))
    drill.wait_for_accepted("The old URL works on")
    url = read_webhook(new).url
    drill.wait("The edge knows the new URL", lambda: drill.sender.is_known(url))
    drill.sender.move(url)
    # A new file and not an edited one: the URL is in one of them wherever this ends.
    lines = [url, *drill.webhook_file.read_text("utf-8").splitlines()[1:]]
    write_file(drill.webhook_file, "\n".join([*lines, ""]))
    new.unlink()
    drill.wait_for_accepted("The new URL works")


def after_tier4(drill: Drill) -> None:
    """Nothing is to be brought back: the old URL ends by itself after 24 hours."""
    drill.wait_for_accepted("Leads arrive")


def _restore(site: Site) -> str:
    path = _dump_to_restore(site)
    if path is None:
        return "nothing to restore"
    with site.db.transaction():
        # What the migrations wrote, and what a drill that was killed had not removed yet. Guards keep it.
        site.db.execute("SET LOCAL session_replication_role = replica")
        site.db.execute(QUERIES["golive/empty_own_tables"])
        kept = site.journal.entries(SETTINGS)[-1]["settings"]
        site.db.execute(QUERIES["golive/update_settings"], {"settings": json.dumps(kept)})
    restore_rows(site.settings.database_url, path, site.choices.programs)
    return f"the rows of {path} are back"


def _dump_to_restore(site: Site) -> Path | None:
    """Return the dump of the last drill, until its rows are back or the rights are: then new leads come."""
    found = None
    for entry in site.journal.entries(BEGUN, "snapshot", "begin", "end"):
        is_back = entry["event"] == "end" and entry["argv"][0] == RESTORE[0] and entry["exit"] == 0
        if entry.get("when") == ROWS_FILE:
            found = site.folder / str(entry["file"])
        elif is_back or entry["event"] == BEGUN or entry["step"] == ROLES:
            found = None
    return found


SLACK, EVERYBODY = "Slack #pancake-integration", "PO, Tech Lead, Ops, DevOps"
TIERS = {
    "tier1": Tier(1, "Tier 1", "PO, Tech Lead", SLACK, 5, tier1, after_tier1),
    "pause": Tier(0, "Pause", "PO, Tech Lead", SLACK, 5, pause, after_pause),
    "tier2": Tier(2, "Tier 2", EVERYBODY, f"{SLACK}, email", 15, tier2, after_tier2),
    "tier3": Tier(
        3, "Tier 3", f"{EVERYBODY}, director, whole team", "Slack urgent, email, meeting", 30, tier3,
        after_tier3,
    ),
    "tier4": Tier(4, "Tier 4", f"{EVERYBODY}, marketing", f"{SLACK}, email", 15, tier4, after_tier4),
}  # fmt: skip
