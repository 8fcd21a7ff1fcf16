"""What is done after the services have started: crons, the first source, its roster, a test lead."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from leads.domain.errors import IntegrationError
from leads.domain.fields import fold
from ops.checks.model import Level, not_green
from ops.clients.db_session import QUERIES, DatabaseError
from ops.clients.plain_http import NoAnswer
from ops.daily.replay import call_action, load_names, open_engine
from ops.daily.status import examine
from ops.failures import CommandFailed, WrongUsage, connection_reason, file_reason, first_line
from ops.golive.deploy.site import Site
from ops.golive.deploy.step import Action, Found, State, Step, function, verb
from ops.golive.deploy.steps import CHECK_SECONDS, all_steps, find_problems, first_of
from ops.golive.sending import Webhook, read_webhook
from ops.output import say, times
from ops.setup.steps import TEXTS, WEBHOOK_FILE, Setup, project_steps
from ops.setup.values import START
from ops.switches import Switch, list_switches, match_sources
from ops.waiting import poll

REASON = "leads setup"
TEST = "leads-setup-test"
"""The record id of test leads."""
PHONE = "0905111222"
STORE_SECONDS, POLL_SECONDS = 60.0, 0.5
"""How long the edge may need until it knows the connection and the lead is stored; it asks every 30 s."""
HELD = "skipped_kill_switch"
MAY_BE_YELLOW = ("connection", "edge-tokens", "token")
"""What people decided: a further connection is disabled, an issuer ends a token in 14 days, Pancake still
posts to a former URL (the one to enter is shown at the end)."""
ONLY_OWN_STEPS = ("9a", "10", "11", "9b")


def finish_steps(setup: Setup) -> list[Step]:
    """Return what is done once handlers and edge run, in order."""
    shared = {step.id: step for step in all_steps() if step.id in ONLY_OWN_STEPS}
    for number, service in (("10", "edge"), ("11", "handlers")):
        start = f"Start the {service} ({START[setup.answers['way']]}), then run this again."
        by_hand = ("by hand: start it, docs/production.md",)
        shared[number] = replace(shared[number], does=by_hand, do_by_hand=start, fix=start)
    return [
        *(shared[each] for each in ONLY_OWN_STEPS), *project_steps(setup, "9b"), _sources_step(),
        _source_step(setup), _roster_step(setup), _test_step(setup), _doctor_step(setup),
    ]  # fmt: skip


def _sources(site: Site) -> list[Switch]:
    return [each for each in list_switches(site.db) if each.kind == "source"]


def _sources_step() -> Step:
    def check(site: Site) -> Found:
        found = _sources(site)
        return Found(
            State.DONE if found else State.ABSENT,
            times(len(found), "source of the workspace is stored", "sources of the workspace are stored"),
        )

    sync = verb("cron", "run", "sync_sources")
    return Step("sources", check=check, do=lambda _: [sync], **TEXTS["sources"])


def _source_step(setup: Setup) -> Step:
    def check(site: Site) -> Found:
        active = [each.name or str(each.pancake_source_id) for each in _sources(site) if each.is_on]
        if len(active) == 1:
            return Found(State.DONE, f"{active[0]} is active")
        if _has_begun(site) or (active and _last_test(site)):
            return Found(State.DONE, times(len(active), "source is active", "sources are active"))
        if active:
            off = f"leads switch source {' '.join(map(quote, active[1:]))} off --reason setup"
            text = f"more than one source is active: {', '.join(active)}"
            return Found(State.PARTIAL, f"{text}. Leave one active, for example {active[0]}: {off}")
        return Found(State.ABSENT, _inactive(site))

    def do(site: Site) -> Sequence[Action]:
        if any(each.is_on for each in _sources(site)):
            return []
        if setup.answers.is_terminal and not setup.answers["lead_source"]:
            say(f"  {_inactive(site)}")
            setup.answers.ask("lead_source")
        while (wanted := setup.answers["lead_source"]) and not match_sources(_sources(site), wanted):
            problem = f"There is no source {wanted!r}. There are: {_names(site)}"
            if not setup.answers.is_terminal:
                say(f"  {problem}")
                break
            setup.answers.ask_again("lead_source", problem)
        # The options go first: Pancake's ids of sources begin with a minus.
        return [verb("switch", "source", "--reason", REASON, wanted, "on")] if wanted else []

    return Step("source", check=check, do=do, **TEXTS["source"])


def _has_begun(site: Site) -> bool:
    """Whether a lead became a ticket: from then on sources and rosters are as people set them."""
    return bool(site.row("golive/load_opening")["is_processed"])


def _inactive(site: Site) -> str:
    return f"no source is active; there are: {_names(site)}"


def _names(site: Site) -> str:
    return ", ".join(each.name or str(each.pancake_source_id) for each in _sources(site) if each.can_be_on)


def _roster_step(setup: Setup) -> Step:
    def check(site: Site) -> Found:
        members = site.row("golive/load_opening")["members"]
        is_done = members or _has_begun(site)
        return Found(State.DONE if is_done else State.ABSENT, f"{members} members are in rosters")

    def fill(site: Site) -> str:
        answers = setup.answers
        return answers.until_accepted(lambda: fill_roster(site, answers["roster"]), lambda _: "roster")

    def do(site: Site) -> Sequence[Action]:
        if setup.answers.is_terminal:
            setup.answers.ask("roster")
        wanted = setup.answers["roster"]
        return [function(("insert", "roster", wanted), partial(fill, site))] if wanted else []

    return Step("roster", check=check, do=do, **TEXTS["roster"])


def fill_roster(site: Site, wanted: str) -> str:
    """Fill the default roster from a CSV file, a role or names; all of it or nothing. Raises WrongUsage."""
    path = Path(wanted)
    members = _read_roster(path) if path.suffix == ".csv" else None
    staff = site.db.execute(QUERIES["setup/list_staff"], {"word": fold(wanted)}).fetchall()
    rows = [row for row in staff if row["has_role"]] if members is None else []
    weights = dict.fromkeys((row["id"] for row in rows), 1)
    if not rows:
        members = members or {word.strip(): 1 for word in wanted.split(",") if word.strip()}
        weights = {_find_member(staff, word): weight for word, weight in members.items()}
    try:
        with site.db.transaction():
            for staff_id, weight in weights.items():
                params = {"staff_id": staff_id, "weight": weight}
                site.db.execute(QUERIES["setup/insert_member"], params)
    except DatabaseError as error:
        raise CommandFailed(f"The roster was not changed: {first_line(error)}") from error
    return f"{times(len(weights), 'member')} joined the default roster"


def _find_member(staff: Sequence[Mapping[str, Any]], word: str) -> str:
    """Return the id of the one member of staff with this id or name. Raises WrongUsage."""
    found = [row["id"] for row in staff if word == row["id"] or fold(word) == fold(row["full_name"] or "")]
    if len(found) != 1:
        roles = ", ".join(sorted({row["role"] for row in staff if row["role"]}))
        raise WrongUsage(
            f"{len(found)} active members of staff are {word!r}: give the id from Diva's table staff, or a "
            f"role of staff: {roles}."
        )
    return str(found[0])


def _read_roster(path: Path) -> dict[str, int]:
    """Read a CSV file of `staff,weight`: an id or a name, and a weight that may be left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeError, csv.Error) as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}.") from error
    members = {}
    for number, (word, *more) in enumerate(rows, 1):
        weight = more[0] if more else "1"
        if number == 1 and word == "staff":
            continue
        if not weight.isdecimal() or not 1 <= int(weight) <= 100:
            raise WrongUsage(f"{path}, line {number}: the weight is {weight!r}, not a number from 1 to 100.")
        members[word] = int(weight)
    if not members:
        raise WrongUsage(f"{path} has no members. Give lines of: staff,weight")
    return members


def _test_step(setup: Setup) -> Step:
    """A lead through edge and engine that the kill switch holds; a dry run shows its plan, then it goes.

    Without the switch it would become a ticket: then none is sent, and what a stopped run left is deleted.
    It is enough once a lead became a ticket; before, none was ever tried.
    """

    def check(site: Site) -> Found:
        tested = _last_test(site)
        if _load_left_over(site):
            return Found(State.PARTIAL, "the test lead of a stopped run is stored")
        if tested:
            return Found(State.DONE, str(tested["text"]))
        if _has_begun(site) and not is_held(site):
            return Found(
                State.DONE, "the kill switch is off, so that a test lead would become a ticket: none is sent"
            )
        return Found(State.ABSENT, "no test lead was sent yet")

    def do(site: Site) -> Sequence[Action]:
        return [function(("post", "a test lead"), partial(_try_lead, setup, site))]

    return Step("test", check=check, do=do, **TEXTS["test"])


def _last_test(site: Site) -> Mapping[str, Any] | None:
    """Return the entry of the last test lead; None if none was sent, or the installation was undone since."""
    found = site.journal.entries("tested", "undone")
    return found[-1] if found and found[-1]["event"] == "tested" else None


def is_held(site: Site) -> bool:
    """Whether the kill switch holds all leads."""
    return bool(site.row("golive/load_opening")["is_held"])


def _load_left_over(site: Site) -> Mapping[str, Any] | None:
    return site.db.execute(QUERIES["golive/load_record"], {"record_id": TEST}).fetchone()


def _try_lead(setup: Setup, site: Site) -> str:
    if not is_held(site):
        tickets = ", ".join(_delete_tests(site))
        told = f"its ticket {tickets} stays: close it in Diva" if tickets else ""
        if not _has_begun(site) and not _last_test(site):
            refusal = "The kill switch is off, so that a test lead would become a ticket: leads status"
            raise CommandFailed(f"{refusal}. Of the one of a stopped run {told}" if told else refusal)
        return told
    _delete_tests(site)  # of a run that was stopped
    try:
        plan = _plan(site, _post(setup, site)["event_id"])
    finally:
        _delete_tests(site)
    text = f"a test lead was stored and held; it would become: {plan}; it was deleted"
    site.journal.write("tested", "test", text=text)
    return ""


def _delete_tests(site: Site) -> list[str]:
    """Delete the events of test leads; return the codes of their tickets, which stay."""
    with site.db.transaction():
        site.db.execute(QUERIES["setup/allow_deletion"])
        deleted = site.db.execute(QUERIES["setup/delete_test_leads"], {"record_id": TEST}).fetchall()
        ids = [row["ticket_id"] for row in deleted if row["ticket_id"]]
        tickets = site.db.execute(QUERIES["setup/list_tickets"], {"ids": ids}).fetchall()
    return [row["code"] for row in tickets]


def _post(setup: Setup, site: Site) -> Mapping[str, Any]:
    """Post a lead as Pancake does; return its event once it is stored. Raises CommandFailed."""
    webhook = read_webhook(setup.folder / WEBHOOK_FILE)
    row = site.row("setup/load_test")
    now = datetime.now(UTC)
    moment = now.replace(tzinfo=None).isoformat(timespec="microseconds")
    lead = {
        "type": "records", "event_type": "insert", "workspace_id": row["workspace_id"], "table_id": "lead",
        "source": [row["source_id"]], "id": TEST, "name": "[TEST] leads setup",
        "phone_number": PHONE, "created_on": moment, "modified_on": moment,
    }  # fmt: skip
    answer = "no answer"
    for _ in poll(STORE_SECONDS, POLL_SECONDS):
        if answer not in (HELD, "duplicate", "spooled"):
            answer = _deliver(webhook, lead)
        if found := _load_left_over(site):
            return found
    raise CommandFailed(f"The edge answered a test lead: {answer}. It is not stored: leads doctor")


def _deliver(webhook: Webhook, lead: Mapping[str, object]) -> str:
    try:
        answer, told = webhook.post(lead)
    except NoAnswer as error:  # its message names the URL, which is a secret
        cause = error.__cause__
        return f"no answer, {connection_reason(cause)}" if isinstance(cause, Exception) else "no answer"
    return told or f"status {answer.status}"


def _plan(site: Site, event_id: int) -> str:
    """Return what a dry run makes of the lead. Raises CommandFailed."""
    settings = site.settings
    try:
        with open_engine(settings.hasura_url, settings.hasura_admin_secret) as engine:
            report = call_action(engine, {"ids": [event_id], "dry_run": True})
            if not report["changes"]:
                raise CommandFailed(f"The dry run of the test lead was refused: {report['refused']}")
            (change,) = report["changes"]
            owner = str(change.get("owner") or "")
            names = load_names(engine, [owner] if owner else [])
    except IntegrationError as error:
        raise CommandFailed(f"The dry run of the test lead failed: {error}") from error
    if "error_code" in change:
        raise CommandFailed(f"The dry run of the test lead says {change['error_code']}: leads doctor")
    return f"{change['result']}, for {names.get(owner, 'no owner: no member is on duty')}"


def _doctor_step(setup: Setup) -> Step:
    def check(site: Site) -> Found:
        results = examine(site.choices.source, site.choices.accept_engine, CHECK_SECONDS)
        accepted = [each for each in results if each.check.id in MAY_BE_YELLOW and each.level is Level.YELLOW]
        if found := find_problems(each for each in results if each not in accepted):
            return Found(State.PARTIAL, first_of(found))
        texts = [found.text for found in not_green(accepted)]
        return Found(State.DONE, "; ".join(["leads doctor finds nothing wrong", *texts]))

    return Step("doctor", check=check, **TEXTS["doctor"])
