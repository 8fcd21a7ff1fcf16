"""What operators read and press at one running system: logs, status, doctor, console, the page.

The tables with which the sections of alerts begin are made here, and that of all breakages in docs/proofs.md:
with WRITE_DOCS set the test writes them, else they have to be current, but for the seconds.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from html import unescape
from itertools import filterfalse
from pathlib import Path
from shlex import split
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from leads.services.cron_runs import CRONS
from ops.cli import app
from ops.daily import connection
from proofs.incidents.breakages import Breakage
from proofs.incidents.faults import TRIGGER, Installation
from sandbox.edge import NginxEdge
from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from sandbox.stack.stack import Sandbox
from tests.support.breakages import BREAKAGES, ENDS_WITH_COMMAND
from tests.support.end_to_end import DRIVER, Browser, EndToEndHarness, browsing, log_lines
from tests.support.leads import numbered_lead
from tests.support.monitoring import alerts
from tests.support.postgres import run_as_owner
from tests.support.runbook import DOCS, PAGES, SITE, TABLE, sections
from tests.support.waiting import eventually

Finding = dict[str, Any]
SECONDS = 30


@pytest.fixture(scope="module")
def green(own_sandbox: Sandbox) -> Sandbox:
    """A system in which every cron has run."""
    is_green(own_sandbox)  # also before the first tick of a cron
    for name in CRONS:
        result = call(own_sandbox, "cron", "run", name)
        assert result.exit_code == 0, result.output
    return own_sandbox


def call(sandbox: Sandbox, *words: str, **variables: str) -> Result:
    """Run a command as an operator of the sandbox."""
    return CliRunner().invoke(app, words, env={**sandbox.environment(), **variables})


CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"), "2026-05-14 09:20 UTC"),
    (re.compile(r"https?://(127\.0\.0\.1|localhost):\d+"), "http://host"),
    (re.compile(r'server at "[^"]+", port \d+'), "server at host"),
    (re.compile(r"diva_[0-9a-f]{8}"), "diva"),
    (re.compile(r"pancake_handlers_[0-9a-f]{8}"), "diva_handlers"),
    (re.compile(r"(session |backend\()\d+"), r"\g<1>4711"),
    (re.compile(r"(for|up to) \d+ s\b"), r"\g<1> 12 s"),
    (re.compile(r"\(forgotten psql, [^)]+\)"), "(forgotten psql, postgres)"),
    (re.compile(r"psql(?: -[hpd] \S+)+"), "psql"),
    (re.compile(r"psql -f \S+/deploy/"), "psql -f deploy/"),
    (re.compile(r"at \d\d:\d\d:\d\d UTC"), "at 09:20:00 UTC"),
    (re.compile(r"leads trace \d+"), "leads trace 17"),
    (re.compile(r"\bpurge_events\b"), "reconcile_daily"),
    (re.compile(r"webhook \d+ \w+ ago|no webhook for a day"), "webhook 4 min ago"),
    (re.compile(r"\|"), r"\\|"),
)
"""What differs from run to run, and what a page has in its place."""
PRINTED = re.compile(
    r"`([^`]+)`|(?:^|(?<=[:;] )|(?<=then ))"
    r"((?:leads|certbot|systemctl|docker compose|df|timedatectl) [^;]*|psql(?: -[hpd] \S+)*"
    r"(?:(?: -c '[^']*')+| -f [^\s;]+)|pancake-handlers)"
)
"""The commands in a printed cure; a page has them in backticks."""
LOOKING = ("leads metadata diff", "leads doctor", "leads trace", "leads golive precheck")
"""Commands that change nothing, and end with 1 if something is wrong."""
NAMED_WITHIN_SECONDS = 3.0
BEGIN, END = TABLE, "\n\n"
BEGIN_OF_ALL = "| broken | `leads status` says | seconds |\n|---|---|---|\n"
SECONDS_OF_ROW = re.compile(r"[\d.]+ \|$", re.M)
MAKE_AGAIN = "make it with: WRITE_DOCS=1 scripts/test --slow tests/end_to_end/test_operators.py -k breakage"
Place = tuple[str, str]
"""A page, and a section of it; without one what is above its first section."""


def look(sandbox: Sandbox, **variables: str) -> dict[str, Any]:
    result = call(sandbox, "status", "--json", **variables)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == int(found["level"] != "green")
    return found


def steady(text: str) -> str:
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text


@pytest.mark.slow("it breaks and mends some forty parts, one after the other")
@pytest.mark.serial
def test_each_breakage_is_named_at_once_and_mended_by_what_its_page_says(
    green: Sandbox, subtests: pytest.Subtests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first command names the cause and nothing else; the commands beside it on the page mend it.

    The page is the section of each alert that fires. Where only a person can mend it, the cure says who does
    what: here the end of the breakage does that.
    """
    monkeypatch.chdir(tmp_path)  # a cure may write backups, and writes tokens into the files of setup
    (tmp_path / "handlers.env").write_text("HASURA_SERVICE_TOKEN=\n")
    (tmp_path / "edge.env").write_text("HASURA_EDGE_TOKEN=\n")
    monkeypatch.setenv("NO_COLOR", "1")
    is_green(green)
    made: dict[Place, list[str]] = {place: [] for place in tables()}
    timed: list[str] = []
    for breakage in (each for each in BREAKAGES if each.check):
        with subtests.test(breakage.name), ExitStack() as broken:
            variables = broken.enter_context(breakage.broken(Installation(green)))
            started = time.monotonic()
            found = look(green, **variables)
            seconds = time.monotonic() - started
            assert seconds < NAMED_WITHIN_SECONDS
            cause = found["cause"]
            assert cause is not None
            assert cause["check"] == breakage.check, found
            assert re.search(breakage.text, cause["text"]), cause
            assert ENDS_WITH_COMMAND.search(cause["cure"]) or cause["level"] != "red", cause
            assert breakage.person in cause["cure"], cause["cure"]
            assert {each["check"] for each in found["findings"] if is_unexplained(each)} <= {cause["check"]}
            timed.append(f"| {breakage.name} | {as_said(cause)} | {seconds:.1f} |")
            for place in places(breakage, cause["runbook"]):
                made.setdefault(place, []).append(as_row(breakage.name, cause))
            Mender(green, breakage, broken).mend(cause["cure"])
            eventually(lambda: look(green)["level"] == "green", seconds=SECONDS)
    for place, rows in made.items():
        with subtests.test(" ".join(place)):
            hold_table(*place, rows)
    with subtests.test("all breakages"):
        hold_seconds(timed)


def test_what_the_diagnosis_of_an_alert_lets_type_runs(sandbox: Sandbox, subtests: pytest.Subtests) -> None:
    commands = {command for page in PAGES for text in sections(page).values() for command in typed(text)}
    assert len(commands) > 4
    for command in sorted(commands):
        with subtests.test(command):
            result = call(sandbox, *split(command)[1:])
            assert result.exit_code <= 1, result.output


def typed(section: str) -> list[str]:
    """Return the calls of `leads` at the prompts of an alert's section."""
    return re.findall(r"^\$ (leads .*)$", section, re.M) if section.startswith("Pancake") else []


def is_green(sandbox: Sandbox) -> None:
    found = look(sandbox)
    assert (found["level"], found["cause"]) == ("green", None), found


def tables() -> Iterator[Place]:
    """The places of the pages that have such a table."""
    for page, text in PAGES.items():
        above = text.partition("\n## ")[0]
        places = {"": above, **sections(page)}
        yield from ((page, name) for name, text in places.items() if BEGIN in text)


def places(breakage: Breakage, runbook: str) -> list[Place]:
    """Return the sections of the alerts that a breakage raises, or the top of the page of its cause."""
    if not breakage.alerts:
        return [(runbook.removeprefix("docs/").partition(".md")[0], "")]
    urls = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in alerts()}
    names = [f"Pancake{alert}" for alert in breakage.alerts.split()]
    return [(urls[name].removeprefix(SITE).partition("#")[0], name) for name in names]


def is_unexplained(found: Finding) -> bool:
    return found["level"] == "red" and not found["because_of"]


def is_looking(command: str) -> bool:
    return command.startswith(LOOKING)


def as_row(name: str, cause: Finding) -> str:
    """Return the row of a page, with the commands of the cure in backticks."""
    cure = PRINTED.sub(lambda found: f"`{found[1] or found[2]}`", cause["cure"])
    return f"| {name} | {as_said(cause)} | {steady(cure)} |"


def as_said(cause: Finding) -> str:
    return steady(f"{cause['level'].upper()} {cause['check']}: {cause['text']}")


def hold_table(page: str, section: str, rows: Iterable[str]) -> None:
    """Compare the table of a section, or write it."""
    path = DOCS / f"{page}.md"
    text = path.read_text("utf-8")
    start = text.index(f"\n## {section}\n") + 1 if section else 0
    end = text.find("\n## ", start) + 1 or len(text)
    before, begin, after = text[start:end].partition(BEGIN)
    assert begin, f"{page} {section} has no table"
    found, _, rest = after.partition(END)
    made = "\n".join(rows)
    if os.environ.get("WRITE_DOCS"):
        path.write_text(text[:start] + before + begin + made + END + rest + text[end:], "utf-8")
    else:
        assert found == made, MAKE_AGAIN


def hold_seconds(rows: Iterable[str]) -> None:
    """Compare the table of all breakages but for its seconds, or write it."""
    path, made = DOCS / "proofs.md", "\n".join(rows)
    before, begin, after = path.read_text("utf-8").partition(BEGIN_OF_ALL)
    found, _, rest = after.partition(END)
    if os.environ.get("WRITE_DOCS"):
        path.write_text(before + begin + made + END + rest, "utf-8")
    else:
        assert SECONDS_OF_ROW.sub("", found) == SECONDS_OF_ROW.sub("", made), MAKE_AGAIN


@dataclass
class Mender:
    """Runs the commands of a cure as they are printed; the end of the breakage is what a person does."""

    sandbox: Sandbox
    breakage: Breakage
    broken: ExitStack

    def mend(self, cure: str) -> None:
        commands = [quoted or plain for quoted, plain in PRINTED.findall(cure)]
        for command in filter(is_looking, commands):
            self._run(command)
        if self.breakage.person:
            self.broken.close()
        for command in filterfalse(is_looking, commands):
            self._run(command)

    def _run(self, command: str) -> None:
        edge = self.sandbox.edge
        start_edge = edge.bring_up if isinstance(edge, NginxEdge) else self.broken.close
        elsewhere = {
            "docker compose up -d hasura": self.sandbox.hasura.bring_up,
            "pancake-handlers": self.sandbox.handlers.bring_up,
            "systemctl start pancake-edge": start_edge,
        }
        if command in elsewhere:
            elsewhere[command]()
        elif command.startswith("psql "):
            run_as_owner(self.sandbox.database_url, command)
        elif command.startswith("leads "):
            with pytest.MonkeyPatch.context() as patch:
                # In a terminal a secret is asked for.
                patch.setattr(connection, "read_secret", lambda *_: self.sandbox.keys.pancake_api_key)
                result = CliRunner().invoke(app, split(command)[1:], env=self.sandbox.environment())
            assert result.exit_code <= is_looking(command), f"{command}: {result.output}"
            if command == "leads token pancake_service --into handlers.env":
                _, _, token = Path("handlers.env").read_text().strip().partition("=")
                assert look(self.sandbox, HASURA_SERVICE_TOKEN=token)["level"] == "green"
        else:
            assert self.breakage.person, f"no part of the sandbox does {command}"


def test_the_doctor_names_a_wrong_variable(green: Sandbox, subtests: pytest.Subtests) -> None:
    levels = examine(green, code=0)
    assert set(levels.values()) <= {"green", "unknown"}
    for name in (
        "environment", "database", "store-lead", "token", "handlers", "secret", "api-key", "clocks",
    ):  # fmt: skip
        assert levels[name] == "green"
    for variable, value, line in (
        ("HANDLER_SECRET", "another-secret-of-the-test-with-32-chars", "secret"),
        ("HASURA_ADMIN_SECRET", "wrong", "metadata-read"),
        ("HASURA_SERVICE_TOKEN", "no.token", "token"),
        ("HASURA_SERVICE_TOKEN", green.keys.token("pancake_edge"), "token"),
        ("PANCAKE_API_HOSTS", "crm.pancake.vn", "api-key"),
    ):
        with subtests.test(variable):
            wait_for_red(green, line, **{variable: value})


def wait_for_red(sandbox: Sandbox, name: str, **variables: str) -> None:
    """Look until the check is red and no other; on a busy machine a reader may be late, which is red too."""

    def is_red_alone() -> bool:
        red = [each for each, level in examine(sandbox, code=1, **variables).items() if level == "red"]
        print(red)
        return red == [name]

    eventually(is_red_alone)


def examine(sandbox: Sandbox, *, code: int, **variables: str) -> dict[str, str]:
    """Return the levels of `leads doctor` by check."""
    result = call(sandbox, "doctor", "--json", **variables)
    assert result.exit_code == code, result.output
    return {each["check"]: each["level"] for each in json.loads(result.stdout)["findings"]}


def test_a_lead_is_followed_by_its_ids(harness: EndToEndHarness, sandbox: Sandbox) -> None:
    """Without trace headers, which Hasura passes on only if OpenTelemetry is configured there.

    tests/end_to_end/test_edge.py follows a lead from the spool.
    """
    if not isinstance(sandbox.edge, NginxEdge):
        pytest.skip("the small edge has no access log; the real one needs Debian's nginx with Lua")
    log, record_id = sandbox.home / "handlers.log", "2f941efe-d9a3-4d9a-affe-000000000001"
    lead = numbered_lead(1) | {"id": record_id}
    event_id = httpx.post(harness.webhook_url, json=lead, timeout=SECONDS).json()["event_id"]
    eventually(lambda: len(log_lines(log.read_text(), record_id=record_id)) == 2)

    stored, processed = log_lines(log.read_text(), record_id=record_id)
    assert (stored["route"], stored["event_id"]) == ("/actions/ingest_record", event_id)
    (edge,) = log_lines(sandbox.edge.access_log(), record_id=record_id)
    assert (edge["outcome"], edge["upstream"], edge["event_id"]) == ("received", "hasura", str(event_id))
    assert (processed["route"], processed["event_id"]) == ("/events/process_record", event_id)
    assert (processed["answer"]["result"], processed["notified"]) == ("ticket_created", True)
    (statement,) = re.findall(r"```sql\n(.*?);\n", (DOCS / "observability.md").read_text("utf-8"), re.S)
    (fired,) = harness.sql(statement.replace("'17'", "%s"), str(event_id))
    assert (fired["delivered"], fired["tries"]) == (True, 1)
    assert harness.observer().sent()[event_id].total() > 0


def answers(harness: EndToEndHarness, hasura_event_id: str) -> list[dict[str, Any]]:
    """The handler's answers to the deliveries of an event, the newest first, as in Invocation Logs."""
    args = {"source": "default", "event_id": hasura_event_id}
    found = harness.metadata_api("pg_get_event_by_id", args)["invocations"]
    return [json.loads(each["response"]["data"]["body"]) for each in found]


def test_redeliver_and_invoke_name_the_event_with_the_outcome(harness: EndToEndHarness) -> None:
    lead = {"id": "console-1", "phone_number": "none", "source": ["-1"]}
    event_id = httpx.post(harness.webhook_url, json=lead, timeout=SECONDS).json()["event_id"]
    (event,) = eventually(lambda: harness.events_of(event_id))
    hasura_event_id = event["id"]
    eventually(lambda: [each["result"] for each in answers(harness, hasura_event_id)] == ["dead_letter"])
    harness.metadata_api("pg_redeliver_event", {"source": "default", "event_id": hasura_event_id})
    eventually(lambda: len(answers(harness, hasura_event_id)) == 2)
    replayed = answers(harness, hasura_event_id)[0]
    assert (replayed["result"], replayed["event_id"]) == ("replayed", event_id)
    (answer,) = eventually(lambda: answers(harness, replayed["hasura_event_id"]))
    assert answer["result"] == "dead_letter"
    replays = f"SELECT replayed_by, replay_count FROM pancake_webhook_event WHERE id = {event_id}"
    assert harness.sql(replays) == [{"replayed_by": "console:redeliver", "replay_count": 1}]

    row = {"id": event_id, "status": "dead_letter"}
    args = {"source": "default", "name": TRIGGER, "payload": row}
    invoked = harness.metadata_api("pg_invoke_event_trigger", args)["event_id"]
    (answer,) = eventually(lambda: answers(harness, invoked))
    assert answer["result"] == "replayed"


@pytest.fixture(scope="module")
def page(sandbox: Sandbox) -> Iterator[Page]:
    with Page(Buttons(sandbox)) as serving:
        yield serving


def press(page: Page, path: str) -> str:
    """Press a button as the script of the page does; return the changed part."""
    answer = httpx.post(page.url + path, data={"token": page.token}, headers={"X-Live": "1"}, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.text


def live(page: Page) -> str:
    return httpx.get(f"{page.url}/live", timeout=SECONDS).text


def test_the_page_tells_the_story_of_leads_trace(page: Page, harness: EndToEndHarness) -> None:
    assert "the answer to Pancake is received" in press(page, "/samples/01-happy-path")
    (newest,) = harness.sql("SELECT max(id) AS id FROM pancake_webhook_event")
    event_id = newest["id"]
    notified = f"SELECT 1 FROM pancake_webhook_event WHERE id = {event_id} AND notified_at IS NOT NULL"
    eventually(lambda: harness.sql(notified))
    shown = unescape(live(page))
    assert "result</b><span>ticket_created TK" in shown
    assert "told</b><span>" in shown
    environment = {"DATABASE_URL": harness.database_url}
    traced = CliRunner().invoke(app, ["trace", str(event_id), "--json"], env=environment)
    (lead,) = json.loads(traced.stdout)["leads"]
    for step in lead["steps"]:
        if step["kind"] != "ticket":  # how long it waits for a response changes
            assert f"<b>{step['kind']}</b><span>{step['text']}</span>" in shown
    assert f"<b>next</b><span>{lead['next']}</span>" in shown
    assert "the answer to Pancake is duplicate" in press(page, "/samples/10-same-bytes")


def test_another_machine_or_page_cannot_use_the_page(page: Page, harness: EndToEndHarness) -> None:
    assert page.url.startswith("http://127.0.0.1:")
    for path in ("/", "/live"):
        assert httpx.get(page.url + path, headers={"Host": "evil.example"}).status_code == 403
    policy = httpx.get(page.url).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert httpx.get(f"{page.url}/samples/01-happy-path").status_code == 405
    lead = numbered_lead(2, name="<img src=x>&")
    httpx.post(harness.webhook_url, json=lead, timeout=SECONDS).raise_for_status()
    eventually(lambda: "&lt;img src=x&gt;&amp;" in live(page))
    assert "<img" not in live(page)

    count = "SELECT count(*) FROM pancake_webhook_event"
    before = harness.sql(count)
    for headers, token in (
        ({}, "wrong"),
        ({"Origin": "http://evil.example"}, page.token),
        ({"Origin": "null"}, page.token),
        ({"Host": "evil.example"}, page.token),
    ):
        url = f"{page.url}/samples/02-enveloped"
        answer = httpx.post(url, data={"token": token}, headers=headers, timeout=SECONDS)
        assert answer.status_code == 403, headers
    assert harness.sql(count) == before


@pytest.mark.skipif(DRIVER is None, reason="chromium and chromium-driver are not installed")
def test_a_visitor_sends_leads_and_stops_a_part(page: Page, harness: EndToEndHarness) -> None:
    with browsing(1280, 900) as browser, browsing(390, 844) as phone:
        browser.open(page.url)
        browser.press(labelled("Send a new lead"))
        browser.wait_for("Pancake delivers 1 new lead.")
        browser.press("//summary")
        browser.press(labelled("A new lead from Facebook, as Pancake sends it"))
        browser.wait_for("the answer to Pancake is")
        browser.press("//form[@action='/switches/pause/on']/button")
        browser.wait_for("Pause is on since")
        browser.press("//form[@action='/switches/pause/off']/button")
        browser.wait_for("Pause is off")
        browser.press("//form[@action='/parts/notifications/stop']/button")
        browser.wait_for("stopped. Send a lead, then press Start.")
        browser.press("//form[@action='/parts/notifications/start']/button")
        browser.wait_for("started again. What waited comes within a minute.")
        eventually(lambda: is_released(browser, harness), seconds=60)
        phone.open(page.url)
        phone.press(labelled("Send a new lead"))
        phone.wait_for("Pancake delivers 1 new lead.")
        for each, width, height in ((browser, 1280, 720), (phone, 390, 1500)):
            assert each.run("return document.documentElement.scrollWidth - window.innerWidth") <= 0
            assert each.run("return document.querySelectorAll('main h2').length") == 4
            keep_picture(f"page-{width}.png", each.picture(width, height))


def is_released(browser: Browser, harness: EndToEndHarness) -> bool:
    """Whether no lead waits. The pause may have caught one: let the engine try it again at once."""
    harness.retry_pending()
    return "waits" not in browser.text()


def labelled(text: str) -> str:
    return f"//button[normalize-space()='{text}']"


def keep_picture(name: str, taken: bytes) -> None:
    """Write a picture of the docs with WRITE_PICTURES set. None is compared: each run shows other times."""
    assert taken.startswith(b"\x89PNG")
    if os.environ.get("WRITE_PICTURES"):
        (DOCS / "pictures" / name).write_bytes(taken)
