"""A metadata directory: an unknown or unsupported key or file stops the start and is named."""

from pathlib import Path

import pytest

from graphql_engine.metadata.directory import read_directory
from graphql_engine.settings import StartError

SOURCE = """
- name: default
  kind: postgres
  configuration:
    connection_info:
      database_url: {from_env: PG_DATABASE_URL}
      isolation_level: read-committed
      use_prepared_statements: false
  tables: "!include default/tables/tables.yaml"
"""
JOB = """
table: {name: job, schema: public}
event_triggers:
  - name: job_changed
    definition: {enable_manual: false, insert: {columns: '*'}, update: {columns: [state]}}
    retry_conf: {interval_sec: 10, num_retries: 3, timeout_sec: 60}
    webhook: '{{HANDLER_URL}}/events/job_changed'
"""
SDL = """
type Mutation { submit_job(name: String!, params: jsonb): SubmitJobOut }
type SubmitJobOut { id: uuid! }
"""
ACTIONS = """
actions:
  - name: submit_job
    definition: {kind: '', handler: 'http://handlers/submit_job'}
    permissions: [{role: user}]
custom_types:
  objects: [{name: SubmitJobOut}]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    root = tmp_path / "metadata"
    tables = root / "databases" / "default" / "tables"
    tables.mkdir(parents=True)
    (root / "version.yaml").write_text("version: 3\n")
    (root / "databases" / "databases.yaml").write_text(SOURCE)
    (tables / "tables.yaml").write_text('- "!include public_job.yaml"\n')
    (tables / "public_job.yaml").write_text(JOB)
    (root / "actions.graphql").write_text(SDL)
    (root / "actions.yaml").write_text(ACTIONS)
    return root


def test_includes_and_signatures_are_put_together(directory: Path) -> None:
    metadata = read_directory(directory)
    assert metadata["sources"][0]["tables"][0]["event_triggers"][0]["name"] == "job_changed"
    definition = metadata["actions"][0]["definition"]
    assert (definition["type"], definition["kind"]) == ("mutation", "synchronous")
    assert definition["arguments"] == [
        {"name": "name", "type": "String!"},
        {"name": "params", "type": "jsonb"},
    ]
    fields = metadata["custom_types"]["objects"][0]["fields"]
    assert fields == [{"name": "id", "type": "uuid!"}]


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("databases/default/tables/public_job.yaml", "num_retries", "retries", "unknown key 'retries'"),
        ("databases/default/tables/public_job.yaml", "webhook:", "webhok:", "unknown key 'webhok'"),
        ("databases/databases.yaml", "kind: postgres", "kind: mssql", "kind must be one of"),
        ("actions.yaml", "submit_job\n", "other_job\n", "'other_job' has no signature"),
        ("actions.yaml", "SubmitJobOut", "Nothing", "'Nothing' is not in actions.graphql"),
        ("version.yaml", "3", "2", "must be one of [3]"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_file(
    directory: Path, file: str, old: str, new: str, complaint: str
) -> None:
    path = directory / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StartError) as refused:
        read_directory(directory)
    assert complaint in str(refused.value)
    assert Path(file).name in str(refused.value)


def test_an_unknown_file_is_refused(directory: Path) -> None:
    (directory / "cron_trigger.yaml").write_text("[]")
    with pytest.raises(StartError, match=r"cron_trigger\.yaml: unknown file"):
        read_directory(directory)


@pytest.mark.parametrize("name", ["remote_schemas", "network", "metrics_config"])
def test_what_is_not_supported_may_only_be_empty(directory: Path, name: str) -> None:
    path = directory / f"{name}.yaml"
    path.write_text("[]")
    read_directory(directory)
    path.write_text("- name: something\n")
    with pytest.raises(StartError, match=r"not supported"):
        read_directory(directory)


def test_a_key_given_twice_is_refused(directory: Path) -> None:
    (directory / "actions.yaml").write_text("actions: []\nactions: []\n")
    with pytest.raises(StartError, match="given twice"):
        read_directory(directory)
