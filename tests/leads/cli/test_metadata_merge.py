"""`leads metadata merge`, `unmerge` and `check` on a project of the Hasura CLI like Diva's."""

from pathlib import Path

import pytest

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine
from leads.cli.metadata.normal import same
from leads.cli.metadata.pieces import split
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.metadata_form.files import formatted_files
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from tests.support.hasura_project import OWN, TABLES, Project, make_own, make_project

pytestmark = pytest.mark.own_database

SECRET = "admin-secret-of-the-test"
ACTIONS = "metadata/actions.yaml"
CRONS = "metadata/cron_triggers.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "hasura")


def lines_of_theirs(before: bytes, after: bytes) -> bool:
    """Whether every line of `before` stands in `after`, in the same order."""
    rest = iter(after.splitlines(keepends=True))
    return all(line in rest for line in before.splitlines(keepends=True))


def test_merging_keeps_every_line_of_theirs_and_taking_out_gives_back_the_bytes(project: Project) -> None:
    before = project.files()
    project.run("merge")
    merged = project.files()
    assert {name for name in before if name not in merged} == set()
    assert {name for name in before if not lines_of_theirs(before[name], merged[name])} == set()
    assert merged[CRONS] != before[CRONS]
    project.run("unmerge")
    assert project.files() == before
    assert not project.path("leads-merge.json").exists()


def test_a_merged_project_has_the_form_of_an_export(project: Project) -> None:
    """So `hasura metadata export` after `hasura metadata apply` leaves no difference in git."""
    project.run("merge")
    files = formatted_files(project.path("metadata"))
    assert [str(path) for path, text in files.items() if path.read_text("utf-8") != text] == []
    names = [line for line in project.path(CRONS).read_text().splitlines() if line.startswith("- name")]
    assert names == sorted(names)
    assert len(names) == 9


def test_the_merged_project_applied_to_an_engine_is_whole_and_consistent(
    project: Project, database: str
) -> None:
    project.run("merge")
    merged = read_directory(project.path("metadata"))
    environment = {
        "PG_DATABASE_URL": database, "HASURA_GRAPHQL_ADMIN_SECRET": SECRET, "DIVA_URL": "http://127.0.0.1:9",
        "HANDLERS_URL": "http://127.0.0.1:9", "HANDLER_SECRET": "secret",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    with Processes() as processes:
        arguments = ("--metadata", str(DIVA_METADATA))
        running = start_engine(processes, database, *arguments, environment=environment)
        with HasuraAdmin(running.url, SECRET) as hasura:
            engine = Engine(hasura)
            engine.replace(merged, engine.export()[1])
            assert engine.inconsistencies() == {}
            held = split(engine.export()[0], "default")
    wanted = split(merged, "default")
    ours = {key for key in split(read_directory(OWN), "default") if key[0] != "setting"}
    assert ours <= held.keys() == wanted.keys()
    assert [key for key, piece in wanted.items() if not same(piece, held[key])] == []
    assert {"role": "pancake_service"} in held["action", "sendNotifications"]["permissions"]


def test_a_second_run_changes_nothing(project: Project) -> None:
    project.run("merge")
    merged = project.files()
    assert "0 files" in project.run("merge")
    assert project.files() == merged


def test_a_dry_run_names_the_files_and_changes_nothing(project: Project) -> None:
    before = project.files()
    said = project.run("merge", "--dry-run")
    assert f"create  {TABLES}/public_pancake_source.yaml" in said
    assert f"change  {ACTIONS}" in said
    assert project.files() == before
    project.run("merge")
    merged = project.files()
    assert f"remove  {TABLES}/public_pancake_source.yaml" in project.run("unmerge", "--dry-run")
    assert project.files() == merged


def test_9a_leaves_the_cron_triggers_to_9b(project: Project) -> None:
    before = project.files()
    project.run("merge", "--step", "9a")
    assert project.files()[CRONS] == before[CRONS]
    project.run("check", "--step", "9a")
    assert "cron trigger pancake_retry_failed is missing" in project.run("check", code=1)
    project.run("merge", "--step", "9b")
    merged = project.files()
    project.run("check")
    project.run("merge", "--step", "9a")
    assert project.files() == merged
    project.run("unmerge")
    assert project.files() == before


def test_a_newer_version_replaces_an_older_one(project: Project, tmp_path: Path) -> None:
    """A changed cron, one that the newer version has no more, a changed table and a changed migration."""
    before = project.files()
    older = make_own(tmp_path / "older")
    crons = older / "cron_triggers.yaml"
    text = crons.read_text().replace("tolerance_seconds: 600", "tolerance_seconds: 60")
    former = text[text.index("- name: pancake_check_sla") : text.index("- name: pancake_poll_records")]
    crons.write_text(text + former.replace("check_sla", "zz_former"))
    table = older / "databases/default/tables/public_pancake_source.yaml"
    table.write_text(table.read_text().replace("        - is_active\n", "", 1))
    (migration,) = (older.parent / "migrations/default").glob("*_create_pancake_tables")
    (migration / "up.sql").write_text("-- older\n")
    project.run("merge", "--metadata", str(older))
    project.run("check", "--metadata", str(older))

    said = project.run("check", code=1)
    assert "cron trigger pancake_retry_failed differs from this version" in said
    assert "cron trigger pancake_zz_former is of a former version" in said
    assert "table public.pancake_source differs from this version" in said
    assert f"migration {migration.name} differs from this version" in said

    project.run("merge")
    project.run("check")
    upgraded = project.files()
    project.run("unmerge")
    assert project.files() == before
    project.run("merge")
    assert project.files() == upgraded


def test_taking_out_keeps_what_they_changed_since(project: Project) -> None:
    project.run("merge")
    project.edit(CRONS, "schedule: 0 1 * * *", "schedule: 0 4 * * *")
    project.edit(
        ACTIONS, "      - role: pancake_service\n", "      - role: diva\n      - role: pancake_service\n"
    )
    project.run("unmerge")
    assert "schedule: 0 4 * * *" in project.path(CRONS).read_text()
    assert "pancake" not in project.path(CRONS).read_text()
    assert "    permissions:\n      - role: diva\n    comment" in project.path(ACTIONS).read_text()


def test_a_permission_that_they_had_stays(project: Project) -> None:
    project.edit(ACTIONS, "    comment:", "    permissions:\n      - role: pancake_service\n    comment:")
    before = project.files()
    project.run("merge")
    project.edit(ACTIONS, "timeout: 10", "timeout: 11")
    project.run("unmerge")
    project.edit(ACTIONS, "timeout: 11", "timeout: 10")
    assert project.files() == before


def test_without_a_record_ours_is_known_by_its_names(project: Project) -> None:
    """As after an export from an engine to which ours was applied."""
    before = project.files()
    project.run("merge")
    merged = project.files()
    project.path("leads-merge.json").unlink()
    project.run("check")
    project.run("merge")
    assert {k: v for k, v in project.files().items() if k != "leads-merge.json"} == {
        k: v for k, v in merged.items() if k != "leads-merge.json"
    }
    project.path("leads-merge.json").unlink()
    project.run("unmerge")
    assert project.files() == before


def test_taking_out_of_a_project_without_ours_changes_nothing(project: Project) -> None:
    project.edit(ACTIONS, "    comment:", "    permissions:\n      - role: pancake_service\n    comment:")
    before = project.files()
    assert "0 files" in project.run("unmerge")
    assert project.files() == before


def test_check_names_everything_that_is_missing(project: Project) -> None:
    said = project.run("check", code=1)
    assert "table public.pancake_source is missing" in said
    assert "migration 1777870069931_create_pancake_tables is missing" in said
    assert "pancake_service may not call the action sendNotifications" in said
    project.run("merge")
    project.edit(ACTIONS, "      - role: pancake_service\n", "      - role: diva\n")
    assert "pancake_service may not call the action sendNotifications" in project.run("check", code=1)
