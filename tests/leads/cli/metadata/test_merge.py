"""`leads metadata merge`, `unmerge` and `check` on a project of the Hasura CLI like Diva's.

Projects with odd but valid content are edited byte for byte, or refused by the name of the file; an
interrupted merge is repaired by a second run.
"""

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.pieces import split
from leads.cli.metadata.project import write
from leads.cli.metadata.project.editors import (
    IN_ACTIONS,
    ActionsFile,
    ListFile,
    SignaturesFile,
    blocks_of,
    definitions_of,
)
from leads.cli.metadata.project.sdl_blocks import find_definitions
from sandbox.metadata_form.files import formatted_files
from tests.support.hasura_project import CRON, OWN, TABLES, Project, make_own

ACTIONS = "metadata/actions.yaml"
SIGNATURES = "metadata/actions.graphql"
CRONS = "metadata/cron_triggers.yaml"
COLLECTIONS = "metadata/query_collections.yaml"
ENDPOINTS = "metadata/rest_endpoints.yaml"
ALLOW_LIST = "metadata/allow_list.yaml"
RECORD = "leads-merge.json"
LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allow_list")
PERMISSIONS = "    permissions:\n      - role: crm_admin\n      - role: zalo # theirs\n"
OUR_PERMISSION = "    permissions:\n      - role: pancake_service\n    comment:"


def lines_of_theirs(before: bytes, after: bytes) -> bool:
    """Whether every line of `before` stands in `after`, in the same order."""
    rest = iter(after.splitlines(keepends=True))
    return all(line in rest for line in before.splitlines(keepends=True))


def test_merging_keeps_every_line_of_theirs_and_taking_out_gives_back_the_bytes(project: Project) -> None:
    """A dry run names the files and changes nothing, a second run neither; the form is that of an export."""
    before = project.files()
    said = project.run("merge", "--dry-run")
    assert f"create  {TABLES}/public_pancake_source.yaml" in said
    assert f"change  {ACTIONS}" in said
    assert "0 files" in project.run("unmerge")
    assert project.files() == before

    project.run("merge")
    merged = project.files()
    assert before.keys() <= merged.keys()
    assert {name for name in before if not lines_of_theirs(before[name], merged[name])} == set()
    assert merged[CRONS] != before[CRONS]
    files = formatted_files(project.path("metadata"))
    assert [str(path) for path, text in files.items() if path.read_text("utf-8") != text] == []
    names = [line for line in project.path(CRONS).read_text().splitlines() if line.startswith("- name")]
    assert names == sorted(names)
    assert len(names) == 9
    assert "0 files" in project.run("merge")
    assert f"remove  {TABLES}/public_pancake_source.yaml" in project.run("unmerge", "--dry-run")
    assert project.files() == merged

    project.run("unmerge")
    assert project.files() == before


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
    project.edit(ACTIONS, "    comment:", OUR_PERMISSION)
    before = project.files()
    assert "0 files" in project.run("unmerge")
    assert project.files() == before
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
    project.path(RECORD).unlink()
    project.run("check")
    project.run("merge")
    assert project.files() | {RECORD: b""} == merged | {RECORD: b""}
    project.path(RECORD).unlink()
    project.run("unmerge")
    assert project.files() == before


def test_check_names_everything_that_is_missing(project: Project) -> None:
    said = project.run("check", code=1)
    assert "table public.pancake_source is missing" in said
    assert "migration 1777870069931_create_pancake_tables is missing" in said
    assert "pancake_service may not call the action sendNotifications" in said
    project.run("merge")
    project.edit(ACTIONS, "      - role: pancake_service\n", "      - role: diva\n")
    assert "pancake_service may not call the action sendNotifications" in project.run("check", code=1)


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


ODD = {
    "comments": (CRONS, f"# our crons\n\n# nightly\n{CRON}# end\n"),
    "comments inside": (CRONS, CRON.replace("  payload: {}\n", "  payload: {}\n  # none\n\n", 1)),
    "empty lines": (CRONS, f"\n\n{CRON.replace('- name: zalo', chr(10) * 2 + '- name: zalo')}\n\n"),
    "no newline at the end": (CRONS, CRON.removesuffix("\n")),
    "CRLF": (CRONS, crlf(CRON)),
    "CRLF without an end": (CRONS, crlf(CRON).removesuffix("\r\n")),
    "document start": (CRONS, f"---\n{CRON}"),
    "document end": (CRONS, f"{CRON}...\n"),
    "an empty list": (CRONS, "[]\n"),
    "an empty list without an end": (CRONS, "[]"),
    "an empty list with a comment": (CRONS, "# none\n[] # none yet\n# end\n"),
    "an empty list, CRLF": (CRONS, "[]\r\n"),
    "null": (CRONS, "null\n"),
    "an empty file": (CRONS, ""),
    "a comment alone": (CRONS, "# none"),
    "a document start alone": (CRONS, "---\n"),
    "indented items": (CRONS, "".join(f"  {line}\n" for line in CRON.splitlines())),
    "other order": (CRONS, CRON[CRON.index("- name: zalo") :] + CRON[: CRON.index("- name: zalo")]),
    "an empty allow list": (ALLOW_LIST, "[]\n"),
    "signatures with comments": (SIGNATURES, """\
# Diva's actions
type Mutation { # one line
  sendNotifications(notifications: [NotificationInput!]!): SendNotificationsOutput # sends
  aaa: SendNotificationsOutput
} # end of Mutation

# inputs
input NotificationInput { template_code: String! recipient_ids: [uuid!]! data: jsonb! }


\"\"\"Result\"\"\"
type SendNotificationsOutput { accepted: Int! duplicates: Int! }
scalar Money
# end"""),
    "signatures, CRLF": (SIGNATURES, crlf("""\
type Mutation {
  sendNotifications(notifications: [NotificationInput!]!): SendNotificationsOutput
}

input NotificationInput {
  template_code: String!
}

type SendNotificationsOutput {
  accepted: Int!
}
""")),
    "types first": (SIGNATURES, """\
type SendNotificationsOutput {
  accepted: Int!
}
input NotificationInput {
  template_code: String!
}
type Mutation {
  sendNotifications(notifications: [NotificationInput!]!): SendNotificationsOutput
}"""),
}  # fmt: skip


def list_editor(name: str) -> ListFile:
    """Return the editor of our crons, or of our allow list."""
    key = "collection" if name == ALLOW_LIST else "name"
    blocks = tuple(blocks_of(OWN / Path(name).name))
    names = frozenset(yaml.safe_load(block)[0][key] for block in blocks)
    return ListFile(Path(name), name, key, names, blocks, key)


def actions_editor() -> ActionsFile:
    blocks = tuple(
        (kind, text) for kind, at in IN_ACTIONS.items() for text in blocks_of(OWN / ACTIONS[9:], at)
    )
    names = frozenset((kind, yaml.safe_load(text)[0]["name"]) for kind, text in blocks)
    return ActionsFile(Path(ACTIONS), ACTIONS, names, blocks, is_permission_theirs=False)


def signatures_editor() -> SignaturesFile:
    names = frozenset(key for key, _ in split(read_directory(OWN), "default").items() if key[0] in IN_ACTIONS)
    return SignaturesFile(Path(SIGNATURES), SIGNATURES, names, tuple(definitions_of(OWN / SIGNATURES[9:])))


def defined(text: str) -> set[Any]:
    """Return the names that signatures define."""
    return {name for each in find_definitions(text, "") for name in each.names}


def listed(name: str, text: str) -> list[str]:
    """Return the items of a list, each as JSON, in one order."""
    return sorted(json.dumps(item) for item in yaml.safe_load(text) or [])


def test_lists_and_signatures_of_odd_forms_stay_byte_for_byte(subtests: pytest.Subtests) -> None:
    for form, (name, text) in ODD.items():
        ours = (OWN / Path(name).name).read_text("utf-8")
        if name == SIGNATURES:
            with subtests.test(form):
                merged = signatures_editor().put_in(text)
                assert defined(merged) == defined(text) | defined(ours)
                assert signatures_editor().take_out(merged) == text
            continue
        with subtests.test(form):
            editor = list_editor(name)
            merged = editor.put_in(text) or ""
            assert listed(name, merged) == sorted(listed(name, ours) + listed(name, text))
            for line in text.splitlines():
                assert line.removeprefix("[]").strip(" ") in merged or line == "null"
            back = editor.take_out(merged)
            assert back == text if listed(name, text) else yaml.safe_load(back or "") == []


def test_the_permission_is_added_to_what_they_have(subtests: pytest.Subtests) -> None:
    editor = actions_editor()
    for permissions, is_last, end, ending in product(
        ("", PERMISSIONS), (True, False), ("\n", ""), ("\n", "\r\n")
    ):
        text = (
            "custom_types:\n  input_objects:\n    - name: NotificationInput\n"
            "  objects:\n    - name: SendNotificationsOutput\n"
            "actions:\n  - name: sendNotifications\n    definition:\n"
            "      handler: '{{DIVA_URL}}/n' # theirs\n      timeout: 10\n      # the last of it\n"
            f"{permissions}{'' if is_last else '    comment: x'}"
        )
        text = (text.removesuffix("\n") + end).replace("\n", ending)
        with subtests.test(permissions=permissions, is_last=is_last, end=end, ending=ending):
            merged = editor.put_in(text)
            actions = yaml.safe_load(merged)["actions"]
            (action,) = (each for each in actions if each["name"] == "sendNotifications")
            roles = [each["role"] for each in action["permissions"]]
            ours = ["pancake_service"]
            assert roles == (["crm_admin", *ours, "zalo"] if permissions else ours)
            assert editor.take_out(merged) == text


def check_merging_and_taking_out(project: Project) -> None:
    before = project.files()
    project.run("merge")
    project.run("check")
    merged = project.files()
    project.run("merge")
    assert project.files() == merged
    project.run("unmerge")
    assert project.files() == before


@pytest.mark.parametrize("key", ["permissions: []", "permissions:", "permissions: [] # none"])
def test_empty_lists_of_odd_forms_come_back_byte_for_byte(key: str, project: Project) -> None:
    """What taking out cannot restore is in the record."""
    project.edit(ACTIONS, "    comment:", f"    {key}\n    comment:")
    for name, form in zip(LISTS, ("# none\n[] # yet\n# end", "[]\r\n", "---\n", "# none"), strict=True):
        project.write(f"metadata/{name}.yaml", form)
    check_merging_and_taking_out(project)


def test_missing_files_are_created_and_removed_again_and_kinds_that_we_do_not_use_stay(
    project: Project,
) -> None:
    for name in LISTS:
        project.path(f"metadata/{name}.yaml").unlink()
    project.path("migrations/default/1600000000000_init/up.sql").unlink()
    project.write("metadata/remote_schemas.yaml", "- name: zalo\n  definition:\n    url: '{{ZALO_URL}}'\n")
    project.write("metadata/network.yaml", "tls_allowlist: []\n")
    check_merging_and_taking_out(project)
    assert not (OWN.parent / RECORD).exists()


def test_an_empty_list_that_the_export_wrote_stays_after_a_missing_file(project: Project) -> None:
    """They exported since: the file is theirs now, and without ours it is an empty list."""
    project.path(ALLOW_LIST).unlink()
    project.run("merge")
    project.write(ALLOW_LIST, project.path(ALLOW_LIST).read_text() + "\n")
    project.run("unmerge")
    assert project.path(ALLOW_LIST).read_text() == "[]\n\n"


def test_actions_of_ours_in_one_type_with_theirs_are_refused(project: Project) -> None:
    project.run("merge")
    text = project.path(SIGNATURES).read_text()
    theirs = "type Mutation {\n  sendNotifications("
    project.write(SIGNATURES, text.replace("}\n\n" + theirs, "  sendNotifications(", 1))
    before = project.files()
    said = project.run("unmerge", code=1)
    assert f"{SIGNATURES}: pancake_trace_lead shares its `type` with sendNotifications" in said
    assert project.files() == before


def test_several_databases_are_refused_until_one_is_chosen(project: Project) -> None:
    databases = "metadata/databases/databases.yaml"
    theirs = project.path(databases).read_text()
    project.write(databases, theirs + theirs.replace("default", "logs").replace("tables.yaml", "none.yaml"))
    project.write("metadata/databases/logs/tables/none.yaml", "[]\n")
    before = project.files()
    assert "Choose one with --source: default, logs" in project.run("merge", code=2)
    assert "Choose one with --source: default, logs" in project.run("merge", "--source", "crm", code=2)
    assert project.files() == before
    project.run("merge", "--source", "default")
    assert project.path(f"{TABLES}/public_pancake_source.yaml").exists()
    assert project.path("metadata/databases/logs/tables/none.yaml").read_text() == "[]\n"
    project.run("unmerge", "--source", "default")
    assert project.files() == before


TABLE = f"{TABLES}/public_integration_change.yaml"
MIGRATION = "migrations/default/1777870069931_create_pancake_tables"
REFUSED: list[tuple[str, list[tuple[str, str, str]]]] = [
    (
        "cron trigger pancake_sync_sources exists and belongs to another application",
        [(CRONS, "name: zalo_refresh", "name: pancake_sync_sources")],
    ),
    (
        "table public.integration_change exists and belongs to another application",
        [
            (f"{TABLES}/tables.yaml", "- ", f'- "!include {Path(TABLE).name}"\n- '),
            (TABLE, "", "table:\n  name: integration_change\n  schema: public\n"),
        ],
    ),
    (
        "action pancake_replay_events exists and belongs to another application",
        [
            (
                ACTIONS,
                "actions:\n",
                "actions:\n  - name: pancake_replay_events\n    definition:\n      handler: '{{X}}'\n",
            ),
            (
                SIGNATURES,
                "type Mutation",
                "type Mutation {\n  pancake_replay_events: SendNotificationsOutput\n}\n\ntype Mutation",
            ),
        ],
    ),
    (
        "object type PancakeIngestAck exists and belongs to another application",
        [
            (ACTIONS, "  objects:\n", "  objects:\n    - name: PancakeIngestAck\n"),
            (
                SIGNATURES,
                "type SendNotificationsOutput",
                "type PancakeIngestAck {\n  id: Int\n}\n\ntype SendNotificationsOutput",
            ),
        ],
    ),
    (
        "REST endpoint pancake_record exists and belongs to another application",
        [(ENDPOINTS, "name: zz_me", "name: pancake_record")],
    ),
    (
        "the path pancake/record belongs to the REST endpoint zz_me",
        [(ENDPOINTS, "url: me", "url: pancake/record")],
    ),
    (
        "query collection pancake_calls exists and belongs to another application",
        [
            (COLLECTIONS, "- name: zalo", "- name: pancake_calls"),
            (ENDPOINTS, "collection_name: zalo", "collection_name: pancake_calls"),
        ],
    ),
    (
        "the migration 1777870069931_theirs has the version of our",
        [("migrations/default/1777870069931_theirs/up.sql", "", "SELECT 1;\n")],
    ),
    (
        "the migration 1777870069931_create_pancake_tables exists with another text",
        [(f"{MIGRATION}/up.sql", "", "SELECT 1;\n")],
    ),
    (f"{ACTIONS} has no action sendNotifications", [(ACTIONS, "name: sendNotifications", "name: other")]),
    (
        f"{CRONS}: the file is not",
        [(CRONS, CRON, '[{name: x, webhook: "http://x", schedule: "* * * * *"}]')],
    ),
    (f"{CRONS}: line 2", [(CRONS, "- name: diva_nightly\n", "-\n  name: diva_nightly\n")]),
    ("not valid YAML", [(CRONS, CRON, "- name: [")]),
    (
        "custom_types.objects is missing",
        [(ACTIONS, "  objects:\n    - name: SendNotificationsOutput\n", "")],
    ),
    ("version 3 of the CLI's config", [("config.yaml", "version: 3", "version: 2")]),
    (
        "databases.yaml: the tables of default have no file",
        [("metadata/databases/databases.yaml", '"!include default/tables/tables.yaml"', "[]")],
    ),
]  # fmt: skip
"""What a merge says, and the edits that are refused so: a file, its old text (empty: a new file), the new."""


def test_a_taken_name_and_a_form_that_cannot_be_edited_are_refused(
    project: Project, subtests: pytest.Subtests
) -> None:
    healthy = project.files()
    for reason, edits in REFUSED:
        with subtests.test(reason):
            for name, old, new in edits:
                project.edit(name, old, new) if old else project.write(name, new)
            before = project.files()
            assert reason in project.run("merge", code=1)
            if reason.startswith("cron trigger"):
                assert reason in project.run("unmerge", code=1)
            assert project.files() == before
        for name, *_ in edits:
            if name in healthy:
                project.path(name).write_bytes(healthy[name])
            else:
                project.path(name).unlink()
    assert "config.yaml: cannot be read" in Project(project.root / "migrations").run("merge", code=2)


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
    project.write(RECORD, "{}")
    assert f"{RECORD} is not a record of a merge" in project.run("unmerge", code=1)
