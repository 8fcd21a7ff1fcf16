"""A merge refuses names that others took, and an interrupted one is repaired by a second run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leads.cli.metadata.project import write
from tests.support.hasura_project import TABLES, Project, make_project

CRONS = "metadata/cron_triggers.yaml"
TABLE = f"{TABLES}/public_integration_change.yaml"
FOREIGN_TABLE = """\
table:
  name: integration_change
  schema: public
select_permissions:
  - role: user
    permission:
      columns:
        - id
        - title
        - owner
      filter: {}
"""
MIGRATION = "migrations/default/1777870069931_create_pancake_tables"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "hasura")


def cron(project: Project) -> None:
    project.edit(CRONS, "name: zalo_refresh", "name: pancake_sync_sources")


def table(project: Project) -> None:
    tables = f"{TABLES}/tables.yaml"
    project.write(tables, project.path(tables).read_text() + '- "!include public_integration_change.yaml"\n')
    project.write(TABLE, FOREIGN_TABLE)


def action(project: Project) -> None:
    ours = (
        "actions:\n  - name: pancake_replay_events\n    definition:\n      handler: '{{DIVA_URL}}/replay'\n"
    )
    project.edit("metadata/actions.yaml", "actions:\n", ours)
    signature = "type Mutation {\n  pancake_replay_events: SendNotificationsOutput\n}\n\n"
    signatures = "metadata/actions.graphql"
    project.write(signatures, signature + project.path(signatures).read_text())


def custom_type(project: Project) -> None:
    project.edit("metadata/actions.yaml", "  objects:\n", "  objects:\n    - name: PancakeIngestAck\n")
    signatures = "metadata/actions.graphql"
    project.write(
        signatures, project.path(signatures).read_text() + "type PancakeIngestAck {\n  id: Int\n}\n"
    )


def endpoint(project: Project) -> None:
    project.edit("metadata/rest_endpoints.yaml", "name: zz_me", "name: pancake_record")


def path_of_endpoint(project: Project) -> None:
    project.edit("metadata/rest_endpoints.yaml", "url: me", "url: pancake/record")


def collection(project: Project) -> None:
    project.edit("metadata/query_collections.yaml", "- name: zalo", "- name: pancake_calls")
    project.edit("metadata/rest_endpoints.yaml", "collection_name: zalo", "collection_name: pancake_calls")


def migration_version(project: Project) -> None:
    project.write("migrations/default/1777870069931_theirs/up.sql", "SELECT 1;\n")


def migration_text(project: Project) -> None:
    project.write(f"{MIGRATION}/up.sql", "SELECT 1;\n")


def no_action(project: Project) -> None:
    project.write("metadata/actions.yaml", "actions: []\ncustom_types:\n  input_objects: []\n  objects: []\n")
    project.write("metadata/actions.graphql", "")


CLASHES: dict[str, Callable[[Project], None]] = {
    "cron trigger pancake_sync_sources exists and belongs to another application": cron,
    "table public.integration_change exists and belongs to another application": table,
    "action pancake_replay_events exists and belongs to another application": action,
    "object type PancakeIngestAck exists and belongs to another application": custom_type,
    "REST endpoint pancake_record exists and belongs to another application": endpoint,
    "the path pancake/record belongs to the REST endpoint zz_me": path_of_endpoint,
    "query collection pancake_calls exists and belongs to another application": collection,
    "the migration 1777870069931_theirs has the version of our": migration_version,
    "the migration 1777870069931_create_pancake_tables exists with another text": migration_text,
    "metadata/actions.yaml has no action sendNotifications": no_action,
}


@pytest.mark.parametrize("reason", CLASHES)
def test_a_name_that_is_taken_is_refused(reason: str, project: Project) -> None:
    CLASHES[reason](project)
    before = project.files()
    assert reason in project.run("merge", code=1)
    assert project.files() == before


def test_taking_out_refuses_what_belongs_to_others(project: Project) -> None:
    cron(project)
    before = project.files()
    assert "cron trigger pancake_sync_sources exists" in project.run("unmerge", code=1)
    assert project.files() == before


def test_a_table_of_ours_in_a_file_of_another_name_is_refused(project: Project) -> None:
    project.run("merge")
    project.path(TABLE).rename(project.path(f"{TABLES}/history.yaml"))
    project.edit(f"{TABLES}/tables.yaml", "public_integration_change.yaml", "history.yaml")
    assert "public.integration_change under another name of its file" in project.run("merge", code=1)


class Stopped(BaseException):
    """Stands for SIGKILL: nothing of the program runs after it."""


def stop_after(monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    """End the program after so many files were put in place, without any cleaning up."""
    put_in_place = write._put_in_place
    done: list[Path] = []

    def stopping(path: Path, text: str | None) -> None:
        if len(done) == changes:
            raise Stopped
        done.append(path)
        put_in_place(path, text)

    monkeypatch.setattr(write, "_put_in_place", stopping)
    monkeypatch.setattr(write, "_remove", lambda paths: None)


@pytest.mark.parametrize("changes", [0, 5, 30])
def test_a_second_run_repairs_an_interrupted_merge(
    changes: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(CRONS, "# none\n[] # yet\n")
    before = project.files()
    with monkeypatch.context() as patched:
        stop_after(patched, changes)
        with pytest.raises(Stopped):
            project.run("merge")
    project.run("merge")
    project.run("check")
    assert not [name for name in project.files() if name.endswith(".leads-merge")]
    with monkeypatch.context() as patched:
        stop_after(patched, changes)
        with pytest.raises(Stopped):
            project.run("unmerge")
    project.run("unmerge")
    assert project.files() == before


def test_a_directory_that_cannot_be_written_is_named_and_nothing_changes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for root, whom permissions do not stop."""
    before = project.files()
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode == "wb" and path.parent.name == "metadata":
            raise OSError(30, "Read-only file system", str(path.parent))
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", read_only)
    said = project.run("merge", code=1)
    assert f"{project.path('metadata')} cannot be written: Read-only file system" in said
    assert "Nothing was changed" in said
    assert project.files() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every directory")
def test_a_directory_without_the_right_to_write_changes_nothing(project: Project) -> None:
    before = project.files()
    project.path("metadata").chmod(0o555)
    said = project.run("merge", code=1)
    project.path("metadata").chmod(0o755)
    assert "cannot be written: Permission denied. Nothing was changed." in said
    assert project.files() == before


def test_a_file_that_is_not_utf8_is_named(project: Project) -> None:
    project.path(CRONS).write_bytes(b"# \xff\n[]\n")
    assert "cannot be read" in project.run("merge", code=1)


def test_a_broken_record_is_refused(project: Project) -> None:
    project.run("merge")
    project.write("leads-merge.json", "{}")
    assert "leads-merge.json is not a record of a merge" in project.run("unmerge", code=1)
