"""Cron triggers of the contract tests."""

from tests.support.hasura import Hasura, Json, unique

YEARLY = "0 0 1 1 *"
RETRY = {"num_retries": 0, "retry_interval_seconds": 1, "timeout_seconds": 5, "tolerance_seconds": 21600}


def make_cron(engine: Hasura, path: str, schedule: str = YEARLY, **more: Json) -> str:
    """Create a cron trigger that is deleted after the test."""
    name = unique("cron")
    args = {"name": name, "webhook": engine.receiver.url + path, "schedule": schedule}
    engine.do("create_cron_trigger", {**args, "include_in_metadata": True, "retry_conf": RETRY, **more})
    engine.crons.append(name)
    return name


def cron_events(engine: Hasura, name: str, *status: str) -> list[Json]:
    args = {"type": "cron", "trigger_name": name, "status": list(status)}
    return list(engine.do("get_scheduled_events", args)["events"])


def trigger_args(engine: Hasura, name: str) -> Json:
    """Return a trigger as its arguments."""
    return next(t for t in engine.do("get_cron_triggers", {})["cron_triggers"] if t["name"] == name)
