"""Event triggers on the table `job` of the contract tests."""

from tests.support.hasura import Hasura, Json, unique

RETRY = {"num_retries": 0, "interval_sec": 1, "timeout_sec": 5}


def make_trigger(engine: Hasura, table: Json, path: str, **more: Json) -> str:
    """Create a trigger, on inserts by default; its webhook is the receiver."""
    name = unique("trigger")
    definition = {"insert": {"columns": "*"}} if not {"insert", "update", "delete"} & set(more) else {}
    args = {"name": name, "table": table, "webhook": engine.receiver.url + path, "retry_conf": RETRY}
    engine.do("pg_create_event_trigger", {**args, **definition, **more})
    return name


def insert(engine: Hasura, values: str) -> None:
    engine.sql(f'INSERT INTO "{engine.schema}".job VALUES {values}')
