"""Steps 9a to 14 of the checklist: metadata, services, crons, Pancake's side, the start of the pilot."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ops.clients.db_session import QUERIES
from ops.failures import WrongUsage
from ops.golive.deploy import checks
from ops.golive.deploy.actions import function, program, verb
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, Step
from ops.switches import list_switches

REASON = "go-live, step 14"
BACK = "go-live rolled back"
READY_SECONDS = 60.0
FIRST_LEAD_SECONDS = 60.0
SCHEDULE_SECONDS = 90.0
"""The engine creates the events of a new cron trigger within a minute."""
ENTER_URL = (
    "In Pancake: Settings, Tools, Webhook: enter the URL of {file}, under Request Headers its second line, "
    "press \"Test webhook\" (Pancake shows 200) or change a lead. Then run this again."
)  # fmt: skip


def service_steps() -> list[Step]:
    """Return the steps 9a to 14, in their order: the crons come after the services that they call."""
    return [
        _metadata("9a", "Metadata without cron triggers"),
        _service(
            "10", "edge", "Edge: the webhook's service", "DevOps", checks.check_edge,
            "Start the edge (deploy/nginx/README.md), set EDGE_STATUS_URL, then run this again.",
        ),
        _service(
            "11", "handlers", "Handlers: events, actions, crons", "DevOps", checks.check_handlers,
            "Start the handlers' image (docs/runbook/install.md, step 6), then run this again.",
        ),
        _metadata("9b", "Cron triggers"),
        _service(
            "12", "front_end", "Settings screens of Diva's front end", "DevOps", checks.check_front_end,
            "Deploy the front end, log in as an administrator, look for Settings/Pancake with its four tabs, "
            "then run this again with --confirm 12.",
        ),
        _pancake(),
        _opening(),
    ]  # fmt: skip


def _metadata(step: str, title: str) -> Step:
    def act(name: str, site: Site) -> Sequence[Action]:
        words = ("remove", step) if name == "remove" else (step,)
        backups, source = str(site.choices.backups), site.choices.source
        return (verb("metadata", *words, "--backups", backups, "--source", source),)

    return Step(
        step, title, "BE", "130 s", (f"leads metadata {step}",), (f"leads metadata remove {step}",),
        check=partial(checks.check_metadata, step=step), do=partial(act, "apply"),
        undo=partial(act, "remove"), wait_seconds=SCHEDULE_SECONDS if step == "9b" else 0.0,
        fix=f"leads metadata diff {step} shows the places; docs/runbook/deploy-metadata.md",
    )  # fmt: skip


def _service(
    number: str, name: str, title: str, owner: str, check: Callable[[Site], Found], by_hand: str
) -> Step:
    def do(site: Site) -> Sequence[Action]:
        command = site.plan.service(name).do
        return (program(command),) if command else ()

    def undo(site: Site) -> Sequence[Action]:
        command = site.plan.service(name).undo
        return (program(command),) if command else ()

    return Step(
        number, title, owner, f"{READY_SECONDS:.0f} s after the command",
        (f"golive.yaml, services.{name}.do",), (f"golive.yaml, services.{name}.undo",),
        check=check, do=do, undo=undo, wait_seconds=READY_SECONDS, do_by_hand=by_hand,
        undo_by_hand=f"Bring back the former build of {name}, then run this again with --confirm {number}.",
        is_confirmed_by_person=name == "front_end", has_other_undo=True, fix=by_hand,
    )  # fmt: skip


def _pancake() -> Step:
    def do(site: Site) -> Sequence[Action]:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
        if disabled := [row["name"] for row in rows if row["is_disabled"]]:
            return tuple(verb("connection", "enable", name) for name in disabled)
        given = site.plan.pancake
        if rows or given is None:
            return ()
        return (
            *_forget_old_url(Path(given.webhook_url_file)),
            verb(
                "connection", "create", "--name", given.name, "--workspace", str(given.workspace),
                "--api-url", given.api_url, "--key-file", given.key_file, "--out", given.webhook_url_file,
            ),
            verb("connection", "test"),
        )  # fmt: skip

    def undo(site: Site) -> Sequence[Action]:
        rows = site.db.execute(QUERIES["golive/load_connection"]).fetchall()
        return tuple(verb("connection", "disable", row["name"], "--reason", BACK) for row in rows)

    return Step(
        "13", "Pancake: API key and webhook", "Ops", "as long as a person takes",
        ("leads connection create", "leads connection test", "by hand: enter the URL in Pancake"),
        ("leads connection disable", "by hand: disable the webhook in Pancake"),
        check=checks.check_pancake, do=do, undo=undo,
        do_by_hand=ENTER_URL.format(file="webhook-url.txt"),
        fix="leads connection test; " + ENTER_URL.format(file="webhook-url.txt"),
    )  # fmt: skip


def _forget_old_url(path: Path) -> tuple[Action, ...]:
    """A creation that was stopped left the file and no connection: its URL is of no use."""
    if not path.exists():
        return ()

    def forget() -> str:
        path.unlink()
        return f"{path} was of a connection that does not exist; removed"

    return (function(("rm", str(path)), forget),)


def _opening() -> Step:
    def do(site: Site) -> Sequence[Action]:
        row = site.row("golive/load_opening")
        actions: list[Action] = []
        if site.plan.roster and not row["members"]:
            actions.append(function(("insert", "roster", site.plan.roster), partial(_fill_roster, site)))
        if site.plan.source and not row["active"]:
            if not _is_listed(site):
                actions.append(verb("cron", "run", "sync_sources"))
            # The options go first: Pancake's ids of sources begin with a minus.
            actions.append(verb("switch", "source", "--reason", REASON, site.plan.source, "on"))
        if row["is_held"] and (row["active"] or site.plan.source):  # turned off last, and never for no source
            actions.append(verb("switch", "kill", "off", "--reason", REASON))
        if row["is_waiting"]:
            actions.append(verb("replay", "--status", "skipped_kill_switch", "--drain"))
        return actions

    def undo(site: Site) -> Sequence[Action]:
        active = site.row("golive/load_opening")["active"]
        sources = (verb("switch", "source", "--reason", BACK, name, "off") for name in active)
        return verb("switch", "kill", "on", "--reason", BACK), *sources

    return Step(
        "14", "Start of the pilot: kill switch off, one source", "PO + Ops",
        f"{FIRST_LEAD_SECONDS:.0f} s after the first lead",
        ("leads switch source SOURCE on", "leads switch kill off", "leads replay --drain"),
        ("leads switch kill on", "leads switch source SOURCE off"),
        check=checks.check_opening, do=do, undo=undo, wait_seconds=FIRST_LEAD_SECONDS,
        do_by_hand="Choose the source of W1 and its roster, in golive.yaml (source, roster) or in Settings; "
        "change a lead of it in Pancake. Then run this again.",
        fix="leads status names what stops leads; docs/runbook/tickets-stopped.md",
    )  # fmt: skip


def _is_listed(site: Site) -> bool:
    """Whether the source of golive.yaml is stored already: the cron brings new ones every 15 minutes."""
    wanted = site.plan.source
    return any(wanted in (each.name, each.pancake_source_id, each.row_id) for each in list_switches(site.db))


def _fill_roster(site: Site) -> str:
    added = site.db.execute(QUERIES["golive/insert_roster"], {"role": site.plan.roster}).rowcount
    if not added:
        raise WrongUsage(f"No active staff has the role {site.plan.roster!r}. Correct roster in golive.yaml.")
    return f"{added} members joined the default roster"
