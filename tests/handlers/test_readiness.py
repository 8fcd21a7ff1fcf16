"""`/readyz` and `/metrics` show the checks of the engine; only the database decides about readiness."""

from tests.support.handlers import HandlerHarness


async def test_without_hasura_the_handlers_stay_ready(harness: HandlerHarness) -> None:
    """The edge hands deliveries over directly while Hasura is down: a load balancer must not stop them."""
    harness.hasura.failing = True
    answer = await harness.client.get("/readyz")
    assert (answer.status_code, answer.json()["hasura"], answer.json()["database"]) == (200, False, True)


async def test_the_checks_are_metrics_without_anybody_asking_for_readiness(harness: HandlerHarness) -> None:
    """No engine is here, so the event trigger has no SQL trigger."""
    text = (await harness.client.get("/metrics")).text
    assert 'pancake_engine_check{check="event_trigger"} 0.0' in text
    assert 'pancake_engine_check{check="allow_list"} 1.0' in text
