"""The page of the sandbox: what a visitor sees and presses, in a real browser; what other pages cannot."""

import json
import os
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from sandbox.page.stories import load_view
from tests.support.browser import DRIVER, browsing
from tests.support.end_to_end import EndToEndHarness
from tests.support.waiting import eventually

SECONDS = 30
RELEASED_SECONDS = 100
"""A tick of each minute, after a round of the engine and its pause of 10 s."""


@pytest.fixture(scope="module")
def page(harness: EndToEndHarness) -> Iterator[Page]:
    if harness.sandbox is None:
        pytest.skip("the page belongs to the sandbox, not to a system that runs elsewhere")
    with Page(Buttons(harness.sandbox)) as serving:
        yield serving


def press(page: Page, path: str) -> str:
    """Press a button as the script of the page does; return the changed part."""
    answer = httpx.post(page.url + path, data={"token": page.token}, headers={"X-Live": "1"}, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer.text


def live(page: Page) -> str:
    return httpx.get(f"{page.url}/live", timeout=SECONDS).text


def count_events(harness: EndToEndHarness) -> int:
    return len(harness.query("SELECT id FROM pancake_webhook_event"))


def test_a_sample_becomes_the_story_that_leads_trace_tells(page: Page, harness: EndToEndHarness) -> None:
    assert "the answer to Pancake is received" in press(page, "/samples/01-happy-path")
    eventually(lambda: "result</b><span>ticket_created TK" in live(page), seconds=SECONDS)
    eventually(lambda: "told</b><span>" in live(page), seconds=SECONDS)
    (event,) = harness.query("SELECT max(id) AS id FROM pancake_webhook_event")
    environment = {"DATABASE_URL": harness.database_url}
    traced = CliRunner().invoke(app, ["trace", str(event["id"]), "--json"], env=environment)
    ((lead,), shown) = json.loads(traced.stdout)["leads"], unescape(live(page))
    for step in lead["steps"]:
        if step["kind"] != "ticket":  # how long it waits for a response changes
            assert f"<b>{step['kind']}</b><span>{step['text']}</span>" in shown
    assert f"<b>next</b><span>{lead['next']}</span>" in shown
    assert "the answer to Pancake is duplicate" in press(page, "/samples/10-same-bytes")


def test_a_dead_letter_says_why_and_what_helps(page: Page, harness: EndToEndHarness) -> None:
    press(page, "/samples/09-unusable-phone")
    eventually(lambda: "invalid_phone: &quot;0123&quot; is too short" in live(page), seconds=SECONDS)
    assert "--corrected-phone PHONE" in live(page)
    press(page, "/samples/08-no-record-id")
    (event,) = harness.query(
        "SELECT max(id) AS id FROM pancake_webhook_event WHERE error_code = 'missing_record_id'"
    )
    assert f"event {event['id']} was refused: no_record_id." in press(page, f"/leads/{event['id']}/again")


def test_the_kill_switch_holds_a_lead_until_it_is_processed_again(
    page: Page, harness: EndToEndHarness
) -> None:
    assert "Kill switch is on" in press(page, "/switches/kill/on")
    (switch,) = [each for each in load_view(harness.database_url).switches if each.kind == "kill"]
    assert (switch.is_on, switch.reason) == (True, "pressed on the sandbox's page")
    press(page, "/samples/03-two-phones-old-prefix")
    assert "skipped_kill_switch: the kill switch was on" in live(page)
    (event,) = harness.query("SELECT id FROM pancake_webhook_event WHERE status = 'skipped_kill_switch'")
    assert "The kill switch is on: turn it off" in press(page, f"/leads/{event['id']}/again")
    press(page, "/switches/kill/off")
    assert f"Event {event['id']} is processed again." in press(page, f"/leads/{event['id']}/again")
    left = "SELECT id FROM pancake_webhook_event WHERE status <> 'processed' AND error_code IS NULL"
    eventually(lambda: not harness.query(left), seconds=SECONDS)


def test_all_held_leads_are_processed_again_at_once(page: Page, harness: EndToEndHarness) -> None:
    (source,) = harness.query("SELECT id FROM pancake_source WHERE pancake_source_id = '-1'")
    press(page, "/switches/kill/on")
    post_lead(harness, "held-1")
    press(page, "/switches/kill/off")
    assert "Source Facebook is off." in press(page, f"/sources/{source['id']}/off")
    post_lead(harness, "held-2")
    assert "skipped_source_disabled: none of its sources was active" in live(page)
    assert "Process all held leads" in press(page, f"/sources/{source['id']}/on")
    assert "2 held leads are processed again." in press(page, "/leads/held")
    assert "Process all held leads" not in live(page)


def post_lead(harness: EndToEndHarness, record_id: str) -> None:
    """Post a lead of the source Facebook."""
    body = {"id": record_id, "name": "Thử", "phone_number": "0905 111 801", "source": ["-1"]}
    httpx.post(harness.webhook_url, json=body, timeout=SECONDS).raise_for_status()


def test_what_does_not_exist_is_said(page: Page) -> None:
    for path in ("/samples/no", "/switches/no/on", "/switches/kill/no", "/sources/no/on", "/parts/no/stop"):
        assert "That did not work: there is no such" in press(page, path)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, "wrong"),
        ({"Origin": "http://evil.example"}, None),
        ({"Origin": "null"}, None),
        ({"Host": "evil.example"}, None),
    ],
)
def test_another_page_cannot_press_a_button(
    page: Page, harness: EndToEndHarness, headers: dict[str, str], token: str | None
) -> None:
    before = count_events(harness)
    given = {"token": token or page.token}
    answer = httpx.post(f"{page.url}/samples/02-enveloped", data=given, headers=headers, timeout=SECONDS)
    assert answer.status_code == 403
    assert count_events(harness) == before


def test_the_page_is_for_this_machine_and_runs_its_own_script_only(page: Page) -> None:
    assert page.url.startswith("http://127.0.0.1:")
    for path in ("/", "/live"):
        assert httpx.get(page.url + path, headers={"Host": "evil.example"}).status_code == 403
    policy = httpx.get(page.url).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert httpx.get(f"{page.url}/samples/01-happy-path").status_code == 405


def test_names_from_outside_are_text(page: Page, harness: EndToEndHarness) -> None:
    body = {"id": "html", "name": "<img src=x>&", "phone_number": "0905 111 999", "source": ["-1"]}
    httpx.post(harness.webhook_url, json=body, timeout=SECONDS).raise_for_status()
    eventually(lambda: "&lt;img src=x&gt;&amp;" in live(page), seconds=SECONDS)
    assert "<img" not in live(page)


def test_a_lead_is_not_sent_to_a_part_that_is_stopped(page: Page) -> None:
    press(page, "/parts/edge/stop")
    assert "That did not work: Edge is stopped: start it first." in press(page, "/samples/01-happy-path")
    assert "Edge: started again." in press(page, "/parts/edge/start")


@pytest.mark.skipif(DRIVER is None, reason="chromium and chromium-driver are not installed")
@pytest.mark.parametrize(
    ("width", "height", "part"),
    [(390, 844, "notifications"), (1280, 900, "handlers")],
    ids=["phone", "desktop"],
)
def test_a_visitor_sends_a_lead_turns_a_switch_stops_a_part_and_brings_it_back(
    page: Page, width: int, height: int, part: str
) -> None:
    with browsing(width, height) as browser:
        browser.open(page.url)
        browser.press(labelled("Send a new lead"))
        browser.wait_for("Pancake delivers 1 new lead.")
        browser.press("//summary")
        browser.press(labelled("A new lead from Facebook, as Pancake sends it"))
        browser.wait_for("the answer to Pancake is")
        browser.press("//summary")
        browser.press("//form[@action='/switches/pause/on']/button")
        browser.wait_for("Pause is on since")
        browser.press("//form[@action='/switches/pause/off']/button")
        browser.wait_for("Pause is off")
        browser.press(f"//form[@action='/parts/{part}/stop']/button")
        browser.wait_for("stopped. Send a lead, then press Start.")
        browser.press(f"//form[@action='/parts/{part}/start']/button")
        browser.wait_for("started again. What waited comes within a minute.")
        # On a slow machine the pause caught a lead: the cron of each minute releases it.
        eventually(lambda: "waits" not in browser.text(), seconds=RELEASED_SECONDS)
        assert browser.run(OVERFLOW) <= 0
        assert browser.run("return document.querySelectorAll('main h2').length") == 4
        keep_picture(f"page-{width}.png", browser.picture(width, PICTURE_HEIGHT[width]))


OVERFLOW = "return document.documentElement.scrollWidth - window.innerWidth"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PICTURE_HEIGHT = {390: 1500, 1280: 720}
MAX_PICTURE_BYTES = 150_000


def labelled(text: str) -> str:
    return f"//button[normalize-space()='{text}']"


def keep_picture(name: str, taken: bytes) -> None:
    """Write a picture of the docs with WRITE_PICTURES set. None is compared: each run shows other times."""
    if os.environ.get("WRITE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / name).write_bytes(taken)
    kept = (PICTURES / name).read_bytes()
    assert taken.startswith(b"\x89PNG")
    assert kept.startswith(b"\x89PNG")
    assert len(kept) <= MAX_PICTURE_BYTES
