"""What cron triggers and questions about their events are refused. Contract section 2."""

import pytest

from tests.support.hasura import Hasura, Json, unique
from tests.support.scheduled import YEARLY, make_cron, trigger_args


@pytest.fixture
def path() -> str:
    """A path of the receiver for one test."""
    return f"/{unique('cron')}"


def test_a_bad_schedule_is_refused(engine: Hasura) -> None:
    args = {"name": unique("cron"), "webhook": "http://127.0.0.1:1/", "include_in_metadata": True}
    for schedule in ("61 * * * *", "* * * *", "5-1 * * * *", " 0 0 1 1 *", "nonsense"):
        status, body = engine.call("create_cron_trigger", {**args, "schedule": schedule})
        assert (status, body["code"]) == (400, "parse-failed"), schedule


def test_a_schedule_by_name_becomes_five_fields(engine: Hasura, path: str) -> None:
    name = make_cron(engine, path, "@daily")
    assert trigger_args(engine, name)["schedule"] == "0 0 * * *"


@pytest.mark.parametrize(
    ("change", "place"),
    [({"name": ""}, "name"), ({"include_in_metadata": None}, "include_in_metadata")],
)
def test_a_malformed_trigger_is_refused(engine: Hasura, change: Json, place: str) -> None:
    args = {"name": unique("cron"), "webhook": "http://127.0.0.1:1/", "schedule": YEARLY}
    status, body = engine.call("create_cron_trigger", {**args, "include_in_metadata": True, **change})
    assert (status, body["code"], body["path"]) == (400, "parse-failed", f"$.args.{place}")


def test_events_of_an_absent_trigger_are_refused(engine: Hasura) -> None:
    status, body = engine.call("get_scheduled_events", {"type": "cron", "trigger_name": "absent"})
    assert (status, body["code"]) == (400, "not-exists")
