"""The sample deliveries through the whole system: webhook, engine, handlers, Diva's tables, notifications."""

import dataclasses
import random

import pytest

from sandbox.demo import Result, run_samples, summary
from sandbox.payloads import load_samples
from tests.end_to_end.place import Place, eventually


@pytest.fixture(scope="module")
def results(place: Place) -> list[Result]:
    """Every sample posted once, in order, and done with."""
    return run_samples(place.webhook_url, place.observer())


def test_every_sample_ends_as_its_file_says(results: list[Result]) -> None:
    assert {result.sample.name: result.differences for result in results if result.differences} == {}


def test_the_summary_counts_what_there_is(results: list[Result], place: Place) -> None:
    figures = summary(results, place.observer(), 1.0)
    counted = place.query(
        "SELECT count(*) AS tickets, count(assignee_id) AS assigned FROM ticket"
        " WHERE source_id = 'ticket_source_pancake'"
    )
    assert {name: figures[name] for name in ("tickets", "assigned")} == counted[0]
    assert figures["statuses"] == {"processed": 6, "dead_letter": 3}
    assert (figures["deliveries"], figures["duplicates"]) == (11, 2)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("seed", range(3))
async def test_posted_again_in_any_order_they_change_nothing(place: Place, seed: int) -> None:
    before = place.snapshot()
    bodies = [sample.body for sample in load_samples()] * 2
    random.Random(seed).shuffle(bodies)
    answers = await place.post(bodies, at_once=8)
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert place.snapshot() == before


@pytest.mark.usefixtures("results")
async def test_without_nginx_the_small_edge_takes_the_same_path(place: Place) -> None:
    if place.sandbox is None:
        pytest.skip("starts a second edge beside the first, which only our own sandbox can")
    small = place.sandbox.more_edge()
    beside = dataclasses.replace(place, webhook_url=f"{small.url}/api/pancake/record/{place.webhook_token}")
    before = place.snapshot()
    answers = await beside.post([sample.body for sample in load_samples()])
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert place.snapshot() == before


@pytest.mark.usefixtures("results")
def test_only_becoming_received_makes_an_event(place: Place) -> None:
    """Each row went through two or three states, and the engine captured its insertion alone."""
    for row in place.query("SELECT id, status FROM pancake_webhook_event"):
        assert len(place.events_of(row["id"])) == 1, row


@pytest.mark.usefixtures("results")
async def test_a_row_set_to_received_by_hand_is_handled_once(place: Place) -> None:
    (row,) = place.query("SELECT max(id) AS id FROM pancake_webhook_event WHERE outcome = 'ticket_created'")
    before = place.snapshot()
    place.query("UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", [row["id"]])
    await eventually(lambda: all(event["delivered"] for event in place.events_of(row["id"])))
    first, by_hand = place.events_of(row["id"])
    assert (first["tries"], by_hand["tries"]) == (1, 1)
    after = place.snapshot()
    (again,) = place.query("SELECT status, outcome FROM pancake_webhook_event WHERE id = %s", [row["id"]])
    assert again["status"] == "processed"
    assert {name: after[name] for name in ("account", "ticket", "sent")} == {
        name: before[name] for name in ("account", "ticket", "sent")
    }


@pytest.mark.usefixtures("results")
async def test_a_redelivered_event_changes_nothing(place: Place) -> None:
    (row,) = place.query("SELECT min(id) AS id FROM pancake_webhook_event WHERE status = 'processed'")
    event = place.events_of(row["id"])[0]
    before = place.snapshot()
    place.metadata_api("pg_redeliver_event", {"event_id": event["id"]})
    await eventually(
        lambda: len(
            place.query("SELECT 1 FROM hdb_catalog.event_invocation_logs WHERE event_id = %s", [event["id"]])
        ) >= 2
    )  # fmt: skip
    assert place.snapshot() == before
