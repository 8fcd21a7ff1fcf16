"""The page of the sandbox: what a visitor sees and presses, in a real browser; what other pages cannot."""

from collections.abc import Iterator

import httpx
import pytest

from sandbox.page.app import Page
from sandbox.page.buttons import Buttons
from tests.support.browser import DRIVER, browsing
from tests.support.end_to_end import EndToEndHarness
from tests.support.waiting import eventually

SECONDS = 30


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


def test_a_sample_becomes_a_story_with_its_ticket_and_owner(page: Page) -> None:
    assert "the answer to Pancake is received" in press(page, "/samples/01-happy-path")
    eventually(lambda: "A new ticket was created: TK" in live(page), seconds=SECONDS)
    assert ", owner " in live(page)
    assert "the answer to Pancake is duplicate" in press(page, "/samples/10-same-bytes")
    press(page, "/samples/09-unusable-phone")
    eventually(lambda: "(invalid_phone)" in live(page), seconds=SECONDS)


def test_the_kill_switch_holds_a_lead_until_it_is_processed_again(
    page: Page, harness: EndToEndHarness
) -> None:
    assert "Kill switch is on" in press(page, "/switches/kill_switch/on")
    press(page, "/samples/03-two-phones-old-prefix")
    assert "the kill switch was on" in live(page)
    press(page, "/switches/kill_switch/off")
    (event,) = harness.query("SELECT id FROM pancake_webhook_event WHERE status = 'skipped_kill_switch'")
    assert f"Event {event['id']} is processed again." in press(page, f"/leads/{event['id']}/again")
    left = "SELECT id FROM pancake_webhook_event WHERE status <> 'processed' AND error_code IS NULL"
    eventually(lambda: not harness.query(left), seconds=SECONDS)


def test_all_held_leads_are_processed_again_at_once(page: Page, harness: EndToEndHarness) -> None:
    press(page, "/switches/kill_switch/on")
    for number in range(2):
        body = {"id": f"held-{number}", "name": "Thử", "phone_number": f"090511180{number}", "source": ["-1"]}
        httpx.post(harness.webhook_url, json=body, timeout=SECONDS).raise_for_status()
    assert "Process all held leads" in press(page, "/switches/kill_switch/off")
    assert "2 held leads are processed again." in press(page, "/leads/held")
    assert "Process all held leads" not in live(page)


def test_what_does_not_exist_is_said(page: Page) -> None:
    for path in ("/samples/no", "/switches/no/on", "/switches/kill_switch/no", "/parts/no/stop"):
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


@pytest.mark.skipif(DRIVER is None, reason="chromium and chromium-driver are not installed")
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)], ids=["phone", "desktop"])
def test_a_visitor_sends_a_lead_stops_a_part_and_brings_it_back(page: Page, width: int, height: int) -> None:
    with browsing(width, height) as browser:
        browser.open(page.url)
        tickets = browser.run("return document.querySelectorAll('article.ok').length")
        browser.press("Send a new lead")
        done = "return document.querySelectorAll('article.ok').length"
        eventually(lambda: browser.run(done) > tickets or "waits" not in browser.text(), seconds=SECONDS)
        eventually(lambda: "Pancake delivers 1 new lead." in browser.text(), seconds=SECONDS)
        browser.run("document.querySelector('form[action=\"/parts/notifications/stop\"] button').click()")
        eventually(lambda: "stopped" in browser.text(), seconds=SECONDS)
        browser.press("Start")
        eventually(lambda: "runs again" in browser.text(), seconds=SECONDS)
        overflow = "return document.documentElement.scrollWidth - window.innerWidth"
        assert browser.run(overflow) <= 0
        assert browser.run("return document.querySelectorAll('main h2').length") == 3
