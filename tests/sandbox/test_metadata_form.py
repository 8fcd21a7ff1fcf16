"""The form of `hasura metadata export`: applying what it wrote and exporting again changes no byte.

The patterns are small cuts from what the CLI exported (v2, engine and CLI of January 2026, v2.48.10); our
metadata, which has that form, is the large one.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from leads.cli.metadata.directory import DIRECTORY
from sandbox.metadata_form.__main__ import main
from sandbox.metadata_form.documents import UnknownForm, format_query, format_signatures
from sandbox.metadata_form.files import format_file, formatted_files

TABLE = "databases/default/tables/public_pancake_connection.yaml"
PATTERNS = {
    "cron_triggers.yaml": """\
- name: pancake_check_connection
  webhook: '{{HANDLERS_URL}}/cron/check_connection'
  schedule: '*/5 * * * *'
  include_in_metadata: true
  payload: {}
  retry_conf:
    num_retries: 1
    retry_interval_seconds: 30
    timeout_seconds: 55
    tolerance_seconds: 300
  headers:
    - name: X-Handler-Secret
      value_from_env: HANDLER_SECRET
  comment: 'Every 5 minutes: is the API key alive; keeps the connection''s status'
- name: pancake_reconcile_daily
  webhook: '{{HANDLERS_URL}}/cron/reconcile_daily'
  schedule: 0 19 * * *
  include_in_metadata: true
  payload: {}
""",
    TABLE: """\
table:
  name: pancake_connection
  schema: public
array_relationships:
  - name: events
    using:
      foreign_key_constraint_on:
        column: connection_id
        table:
          name: pancake_webhook_event
          schema: public
event_triggers:
  - name: pancake_webhook_event_status_update
    definition:
      enable_manual: true
      insert:
        columns: '*'
        payload:
          - id
    retry_conf:
      interval_sec: 15
      num_retries: 20
      timeout_sec: 30
    webhook: '{{HANDLERS_URL}}/events/process_record'
""",
}
"""Text by the path of its file in the metadata directory."""


def reversed_keys(value: Any) -> Any:
    """Return the value with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(list(value))}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_our_metadata_has_the_form_of_an_export_and_gets_it_again_from_other_orders_and_quotes(
    tmp_path: Path, subtests: pytest.Subtests
) -> None:
    shutil.copytree(DIRECTORY, tmp_path / "metadata")
    for name, text in PATTERNS.items():
        write(tmp_path / "patterns", name, text)
    for folder in (tmp_path / "metadata", tmp_path / "patterns"):
        for path, text in formatted_files(folder).items():
            with subtests.test(str(path.relative_to(tmp_path))):
                assert path.read_text() == text, "run scripts/check --fix"
                if path.suffix == ".yaml":
                    mixed = reversed_keys(yaml.safe_load(text))
                    path.write_text(yaml.dump(mixed, sort_keys=False, default_style="'"))
                    assert format_file(path) == text


def test_lists_with_names_are_sorted_and_defaults_are_left_out(tmp_path: Path) -> None:
    crons = yaml.safe_load(PATTERNS["cron_triggers.yaml"])
    crons[1] |= {"headers": [], "retry_conf": {
        "num_retries": 0, "retry_interval_seconds": 10, "timeout_seconds": 60, "tolerance_seconds": 21600,
    }}  # fmt: skip
    path = write(tmp_path, "cron_triggers.yaml", yaml.dump(crons[::-1]))
    assert format_file(path) == PATTERNS["cron_triggers.yaml"]


def test_a_query_is_printed_on_few_lines_without_comments() -> None:
    text = """
    query Runs(
      # newest first
      $name: String = "a \\"b\\"", $ids: [bigint!]) { pancake_cron_run(where: {name: {_eq: $name},
        id: {_in: $ids}, done: {_eq: true}}) { id } }
    """
    assert format_query(text) == (
        'query Runs ($name: String = "a \\"b\\"", $ids: [bigint!]) {\n'
        "  pancake_cron_run(where: {name:{_eq:$name},id:{_in:$ids},done:{_eq:true}}) {\n"
        "    id\n  }\n}\n"
    )


def test_what_was_never_seen_is_refused_by_name() -> None:
    with pytest.raises(UnknownForm, match="fragments and directives"):
        format_query("query A { staff { ...Names } }")
    with pytest.raises(UnknownForm, match="enum_type_definition"):
        format_signatures("enum Mood { GOOD }")


def test_the_check_names_the_file_and_the_fix_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, TABLE, PATTERNS[TABLE].replace("'", '"'))
    monkeypatch.setattr("sys.argv", ["metadata_form", str(tmp_path)])
    assert main() == 1
    assert "public_pancake_connection.yaml: not in the form" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["metadata_form", "--fix", str(tmp_path)])
    assert main() == 0
    assert path.read_text() == PATTERNS[TABLE]
