"""The metadata: it matches the routes, sets every retry, has no URL and no secret; roles have one place."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from app import HASURA_ROUTES
from leads.adapters.graphql import SEND_TIMEOUT_SECONDS
from leads.adapters.hasura_calls import read_action, read_cron, read_event
from leads.adapters.pancake_api import TOTAL_TIMEOUT_SECONDS
from leads.domain.day_ledger import MAX_DAYS_BACK
from leads.services.cron_work import ANSWER_WITHIN_SECONDS, CRON_PERIOD_SECONDS, STOP_AT
from ops.daily.replay import MAX_EVENTS_PER_QUERY
from ops.metadata.directory import DIRECTORY, DirectoryError, read_directory, role_of_action

ROOT = Path(__file__).parents[2]
METADATA = ROOT / "hasura" / "metadata"


def load(name: str) -> Any:
    return yaml.safe_load((METADATA / name).read_text("utf-8"))


ACTIONS: list[dict[str, Any]] = load("actions.yaml")["actions"]
CRONS: list[dict[str, Any]] = load("cron_triggers.yaml")
TABLES: list[dict[str, Any]] = [
    load(f"databases/default/tables/{path.name}")
    for path in sorted((METADATA / "databases/default/tables").glob("public_*.yaml"))
]
EVENTS: list[dict[str, Any]] = [trigger for table in TABLES for trigger in table.get("event_triggers", [])]
CALLS = [*ACTIONS, *EVENTS, *CRONS]
READERS = {"actions": read_action, "events": read_event, "cron": read_cron}
DAILY = {"pancake_purge_events": "30 20 * * *", "pancake_reconcile_daily": "0 19 * * *"}
PERIOD_SECONDS = {"* * * * *": 60, "*/5 * * * *": 300, "*/15 * * * *": 900}
ENGINE_SLEEP_SECONDS = 10
"""Between two rounds of deliveries (Eventing/ScheduledTrigger)."""
SECONDS_TO_RECONCILE_A_DAY = 60
"""The bar for 100,000 records: docs/performance.md."""
CONTRACT = ROOT / "docs" / "diva-contract.md"
SOURCES = ("app.py", "cron", "handlers", "leads", "ops", "sql", "hasura", "deploy")
STAFF_ROLE = re.compile(r"""(?<!pancake_staff_role\()(['"])(admin|manager|telesale)\1""")
DEFINITION = re.compile(r"CREATE FUNCTION public\.pancake_staff_role.*?^\$\$;", re.DOTALL | re.MULTILINE)
HASURA_ROLE = re.compile(r"crm_(?:admin|manager|telesale)")
PERMISSION = re.compile(r"^ *- role: crm_(?:admin|manager)$", re.MULTILINE)


def webhook(item: dict[str, Any]) -> str:
    return str(item["webhook"] if "webhook" in item else item["definition"]["handler"])


def headers(item: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = item.get("headers") or item.get("definition", {}).get("headers", [])
    return found


def test_every_call_has_a_route_and_every_route_a_call() -> None:
    called = {(urlsplit(webhook(item).removeprefix("{{HANDLERS_URL}}")).path, item["name"]) for item in CALLS}
    assert called == {(served.path, served.name) for served in HASURA_ROUTES}
    assert len(called) == len(CALLS) == len(HASURA_ROUTES)


def test_a_route_reads_what_its_kind_of_call_sends() -> None:
    for served in HASURA_ROUTES:
        assert served.read is READERS[served.path.split("/")[1]]
        assert served.allows_edge == (served.path == "/actions/ingest_record")


def test_every_call_takes_its_secret_and_url_from_the_environment(subtests: pytest.Subtests) -> None:
    for item in CALLS:
        with subtests.test(item["name"]):
            assert headers(item) == [{"name": "X-Handler-Secret", "value_from_env": "HANDLER_SECRET"}]
            assert webhook(item).startswith("{{HANDLERS_URL}}/")
            assert "request_transform" not in str(item)


def test_every_retry_configuration_is_explicit(subtests: pytest.Subtests) -> None:
    event = {"interval_sec", "num_retries", "timeout_sec"}
    cron = {"num_retries", "retry_interval_seconds", "timeout_seconds", "tolerance_seconds"}
    for item in EVENTS + CRONS:
        with subtests.test(item["name"]):
            assert set(item["retry_conf"]) == (event if item in EVENTS else cron)
            assert all(isinstance(value, int) for value in item["retry_conf"].values())


def test_the_crons_have_the_periods_of_the_metrics_and_the_daily_ones_their_hour() -> None:
    schedules = {cron["name"]: cron["schedule"] for cron in CRONS}
    assert {name: each for name, each in schedules.items() if each not in PERIOD_SECONDS} == DAILY
    assert all(cron["include_in_metadata"] is True and "payload" in cron for cron in CRONS)
    periods = {f"pancake_{name}": seconds for name, seconds in CRON_PERIOD_SECONDS.items()}
    assert periods == {name: PERIOD_SECONDS.get(each, 86_400) for name, each in schedules.items()}


def test_the_longest_run_of_a_cron_gets_all_its_deliveries(subtests: pytest.Subtests) -> None:
    """Each delivery counts as a try, also those that Retry-After asks for."""
    for cron in CRONS:
        retries = cron["retry_conf"]
        with subtests.test(cron["name"]):
            longest_call = ANSWER_WITHIN_SECONDS + max(TOTAL_TIMEOUT_SECONDS, SEND_TIMEOUT_SECONDS)
            assert longest_call < retries["timeout_seconds"] <= longest_call + 1
            if period := PERIOD_SECONDS.get(cron["schedule"]):
                # Then the next tick continues, unless it comes while the run is at work: three may do so.
                deliveries = period / ENGINE_SLEEP_SECONDS
                longest_seconds = 4 * period
            else:
                deliveries = MAX_DAYS_BACK * SECONDS_TO_RECONCILE_A_DAY / (STOP_AT * ANSWER_WITHIN_SECONDS)
                longest_seconds = deliveries * (ENGINE_SLEEP_SECONDS + retries["timeout_seconds"])
            assert retries["num_retries"] > deliveries
            assert retries["tolerance_seconds"] >= longest_seconds


def test_the_event_trigger_fires_only_for_received_with_a_small_payload() -> None:
    (trigger,) = EVENTS
    payload = ["id", "status", "received_at"]
    assert trigger["definition"] == {
        "enable_manual": True,
        "insert": {"columns": "*", "payload": payload},
        "update": {"columns": ["received_at"], "payload": payload},
    }
    retries, page = trigger["retry_conf"], " ".join((ROOT / "docs/flow.md").read_text("utf-8").split())
    assert f"no answer in {retries['timeout_sec']} s" in page
    assert f"repeats it {retries['num_retries']} times, every {retries['interval_sec']} s" in page


def test_only_the_route_of_the_event_trigger_names_a_time_in_each_503() -> None:
    """With Retry-After Hasura retries without limit, which is for events and not for ticks of crons."""
    (trigger,) = EVENTS
    times = {
        served.name: served.retry_after_seconds for served in HASURA_ROUTES if served.retry_after_seconds
    }
    assert times == {trigger["name"]: trigger["retry_conf"]["interval_sec"]}


def test_actions_have_a_timeout_and_roles_and_those_that_change_are_synchronous() -> None:
    assert {action["name"]: [p["role"] for p in action["permissions"]] for action in ACTIONS} == {
        "pancake_ingest_record": ["pancake_edge"],
        "pancake_list_leads": ["crm_admin", "crm_manager"],
        "pancake_replay_events": ["crm_admin"],
        "pancake_trace_lead": ["crm_admin", "crm_manager"],
    }
    for action in ACTIONS:
        # The CLI writes an empty kind for an action that is a query; the engine calls it synchronously.
        is_query = action["name"] in ("pancake_list_leads", "pancake_trace_lead")
        assert action["definition"]["kind"] == ("" if is_query else "synchronous")
        assert action["definition"]["timeout"] >= 5
        assert not action["definition"].get("forward_client_headers")


def test_the_rest_endpoint_takes_the_arguments_of_the_action() -> None:
    (endpoint,) = load("rest_endpoints.yaml")
    assert (endpoint["url"], endpoint["methods"]) == ("pancake/record", ["POST"])
    (collection,) = (c for c in load("query_collections.yaml") if c["name"] == "pancake")
    (query,) = collection["definition"]["queries"]
    assert endpoint["definition"]["query"] == {"collection_name": "pancake", "query_name": query["name"]}
    signature = (METADATA / "actions.graphql").read_text("utf-8")
    arguments = re.findall(r"(\w+): (\w+!?)", signature[signature.index("ingest_record(") :].split(")")[0])
    variables = re.findall(r"\$(\w+): (\w+!?)", query["query"].split("{")[0])
    assert variables == arguments


def test_every_reader_has_a_limit_and_the_programs_ask_for_no_more() -> None:
    limits = {
        f"{table['table']['name']}: {each['role']}": each["permission"].get("limit")
        for table in TABLES
        for each in table.get("select_permissions", [])
    }
    assert len(limits) == 12
    assert set(limits.values()) == {1, MAX_EVENTS_PER_QUERY}
    assert [name for name, limit in limits.items() if limit == 1] == ["view_pancake_setting: crm_admin"]


def test_the_metadata_contains_no_url_host_or_secret() -> None:
    for path in METADATA.rglob("*.*"):
        text = path.read_text("utf-8")
        assert not re.search(r"https?://", text), path
        assert "value:" not in re.sub(r"\w+_value:", "", text), path


def files() -> list[Path]:
    found = [path for name in SOURCES for path in (ROOT / name, *(ROOT / name).rglob("*")) if path.is_file()]
    return [path for path in found if "__pycache__" not in path.parts]


def names_in(path: Path) -> list[str]:
    """Return the names of roles in a file, apart from their one place."""
    text = DEFINITION.sub("", path.read_text("utf-8"))
    found = [name for _, name in STAFF_ROLE.findall(text)]
    if DIRECTORY in path.parents:
        text = PERMISSION.sub("", text)
    return found + HASURA_ROLE.findall(text)


def test_a_role_is_named_only_in_its_one_place() -> None:
    """The function pancake_staff_role for staff, the permissions of the metadata for Hasura."""
    found = {str(path.relative_to(ROOT)): names_in(path) for path in files()}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_documented_command_renames_the_role_of_hasura_everywhere(tmp_path: Path) -> None:
    """Afterwards the directory is the same but for the name, and `leads replay` calls under that name."""
    (command,) = re.findall(r"^```sh\n(sed .*?)^```", CONTRACT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    copy = tmp_path / "hasura" / "metadata"
    shutil.copytree(DIRECTORY, copy)
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    before, after = yaml.safe_dump(read_directory(DIRECTORY)), yaml.safe_dump(read_directory(copy))
    assert after == before.replace("role: crm_admin", "role: quan_tri") != before
    assert "crm_admin" not in after
    assert role_of_action("pancake_replay_events", copy) == "quan_tri"


DIRECTORY_FILES = {
    "version.yaml": "version: 3\n",
    "databases/databases.yaml": "[{name: default, kind: postgres, tables: '!include job.yaml'}]\n",
    "databases/job.yaml": '["!include table.yaml"]\n',
    "databases/table.yaml": "table: {name: job, schema: public}\n",
    "actions.graphql": (
        'type Mutation { submit(name: String!, params: jsonb): Out }\n"done" type Out { id: uuid! }\n'
    ),
    "actions.yaml": (
        "actions: [{name: submit, definition: {kind: '', handler: 'http://h'}}]\n"
        "custom_types: {objects: [{name: Out}]}\n"
    ),
}


def test_the_files_of_a_directory_are_put_together(tmp_path: Path) -> None:
    write_directory(tmp_path, DIRECTORY_FILES)
    metadata = read_directory(tmp_path)
    assert metadata["sources"][0]["tables"] == [{"table": {"name": "job", "schema": "public"}}]
    arguments = [{"name": "name", "type": "String!"}, {"name": "params", "type": "jsonb"}]
    assert metadata["actions"][0]["definition"] == {
        "kind": "synchronous", "handler": "http://h", "type": "mutation", "output_type": "Out",
        "arguments": arguments,
    }  # fmt: skip
    (out,) = metadata["custom_types"]["objects"]
    assert out == {"name": "Out", "description": "done", "fields": [{"name": "id", "type": "uuid!"}]}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("version.yaml", "version: 2\n", "version must be one of"),
        ("databases/table.yaml", "a: 1\na: 2\n", "given twice"),
        ("databases/databases.yaml", "a: 1\n", "must be a list of sources"),
        ("cron_trigger.yaml", "[]\n", "unknown file"),
        ("network.yaml", "a: 1\n", "must be empty"),
        ("actions.graphql", "union A = B\n", "neither an action nor a custom type"),
        ("actions.graphql", "type Mutation { a: Int }\ntype Query { a: Int }\n", "defined twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    write_directory(tmp_path, DIRECTORY_FILES | {name: text})
    with pytest.raises(DirectoryError, match=complaint) as refused:
        read_directory(tmp_path)
    assert Path(name).name in str(refused.value)


def write_directory(root: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
