"""The sample deliveries through the whole system: webhook, engine, handlers, Diva's tables, notifications."""

import dataclasses
import random

import pytest

from sandbox.demo import Result, run_samples, summary
from sandbox.payloads import load_samples
from tests.support.end_to_end import EndToEndHarness
from tests.support.waiting import eventually_async


@pytest.fixture(scope="module")
def results(harness: EndToEndHarness) -> list[Result]:
    """Every sample, posted once in order, after it was processed."""
    return run_samples(harness.webhook_url, harness.observer())


@pytest.mark.test_case("TC-001")
def test_every_sample_ends_as_its_file_expects(results: list[Result]) -> None:
    assert {result.sample.name: result.differences for result in results if result.differences} == {}


def test_the_summary_counts_the_rows(results: list[Result], harness: EndToEndHarness) -> None:
    figures = summary(results, harness.observer(), 1.0)
    counted = harness.query(
        "SELECT count(*) AS tickets, count(assignee_id) AS assigned FROM ticket"
        " WHERE source_id = 'ticket_source_pancake'"
    )
    assert {name: figures[name] for name in ("tickets", "assigned")} == counted[0]
    assert figures["statuses"] == {"processed": 6, "dead_letter": 3}
    assert (figures["deliveries"], figures["duplicates"]) == (11, 2)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("seed", range(3))
async def test_samples_posted_again_in_any_order_change_nothing(harness: EndToEndHarness, seed: int) -> None:
    before = harness.snapshot()
    bodies = [sample.body for sample in load_samples()] * 2
    random.Random(seed).shuffle(bodies)
    answers = await harness.post(bodies, at_once=8)
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert harness.snapshot() == before


@pytest.mark.usefixtures("results")
async def test_without_nginx_the_small_edge_takes_the_same_path(harness: EndToEndHarness) -> None:
    if harness.sandbox is None:
        pytest.skip("starts a second edge beside the first, which only our own sandbox can")
    small = harness.sandbox.add_small_edge()
    beside = dataclasses.replace(
        harness, webhook_url=f"{small.url}/api/pancake/record/{harness.webhook_token}"
    )
    before = harness.snapshot()
    answers = await beside.post([sample.body for sample in load_samples()])
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert harness.snapshot() == before


@pytest.mark.usefixtures("results")
def test_only_the_status_received_fires_an_event(harness: EndToEndHarness) -> None:
    """Each row had two or three states; the engine captured only its insertion."""
    for row in harness.query("SELECT id, status FROM pancake_webhook_event"):
        assert len(harness.events_of(row["id"])) == 1, row


@pytest.mark.usefixtures("results")
async def test_a_row_set_to_received_by_hand_is_processed_once(harness: EndToEndHarness) -> None:
    (row,) = harness.query("SELECT max(id) AS id FROM pancake_webhook_event WHERE outcome = 'ticket_created'")
    before = harness.snapshot()
    harness.query("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", [row["id"]])
    await eventually_async(lambda: all(event["delivered"] for event in harness.events_of(row["id"])))
    first, by_hand = harness.events_of(row["id"])
    assert (first["tries"], by_hand["tries"]) == (1, 1)
    after = harness.snapshot()
    (again,) = harness.query("SELECT status, outcome FROM pancake_webhook_event WHERE id = %s", [row["id"]])
    assert again["status"] == "processed"
    assert {name: after[name] for name in ("account", "ticket", "sent")} == {
        name: before[name] for name in ("account", "ticket", "sent")
    }


@pytest.mark.usefixtures("results")
async def test_a_redelivered_event_changes_nothing(harness: EndToEndHarness) -> None:
    (row,) = harness.query("SELECT min(id) AS id FROM pancake_webhook_event WHERE status = 'processed'")
    event = harness.events_of(row["id"])[0]
    before = harness.snapshot()
    harness.metadata_api("pg_redeliver_event", {"event_id": event["id"]})
    logged = "SELECT 1 FROM hdb_catalog.event_invocation_logs WHERE event_id = %s"
    await eventually_async(lambda: len(harness.query(logged, [event["id"]])) >= 2)
    assert harness.snapshot() == before
