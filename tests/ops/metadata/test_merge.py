"""`leads metadata merge`, `unmerge` and `check` on a project of the Hasura CLI like Diva's.

Projects with odd but valid content are edited byte for byte, or refused by the name of the file; an
interrupted merge is repaired by a second run.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from scripts.metadata_form import formatted_files
from tests.support.fakes import Crash
from tests.support.metadata import CRON, METADATA, TABLES, Project, make_own

ACTIONS = "metadata/actions.yaml"
SIGNATURES = "metadata/actions.graphql"
CRONS = "metadata/cron_triggers.yaml"
COLLECTIONS = "metadata/query_collections.yaml"
ENDPOINTS = "metadata/rest_endpoints.yaml"
ALLOW_LIST = "metadata/allow_list.yaml"
DATABASES = "metadata/databases/databases.yaml"
EXPORT = "Nothing was changed. Export the project first: `hasura metadata export`"
NOTHING = f"holds nothing: a list without items is `[]`. {EXPORT}"
RECORD = "leads-merge.json"
LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allow_list")
PERMISSIONS = "    permissions:\n      - role: crm_admin\n      - role: zalo # theirs\n"
OUR_PERMISSION = "    permissions:\n      - role: pancake_service\n    comment:"


def lines_of_theirs(before: bytes, after: bytes) -> bool:
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
    said = " ".join(project.run("check", code=1).split())
    changed = (
        "cron trigger pancake_retry_failed",
        "table public.pancake_source",
        f"migration {migration.name}",
    )
    assert [name for name in changed if f"{name} differs from this version" not in said] == []
    assert "cron trigger pancake_zz_former is of a former version" in said
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
    role = "      - role: pancake_service\n"
    project.edit(ACTIONS, role, role.replace("pancake_service", "diva") + role)
    project.run("unmerge")
    crons = project.read(CRONS)
    assert ("schedule: 0 4 * * *" in crons, "pancake" in crons) == (True, False)
    assert "    permissions:\n      - role: diva\n    comment" in project.read(ACTIONS)


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
    said, forbidden = (
        project.run("check", code=1),
        "pancake_service may not call the action sendNotifications",
    )
    pieces = ("table public.pancake_source", "migration 1777870069931_create_pancake_tables")
    assert (all(f"{piece} is missing" in said for piece in pieces), forbidden in said) == (True, True), said
    project.run("merge")
    project.edit(ACTIONS, "      - role: pancake_service\n", "      - role: diva\n")
    assert forbidden in project.run("check", code=1)


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def with_comments(text: str) -> str:
    return "# ours\n\n" + text.replace("\n- ", "\n  # none\n\n\n# theirs\n- ") + "# end\n\n"


FORMS: tuple[Callable[[str], str], ...] = (
    crlf,
    lambda text: crlf(text).removesuffix("\r\n"),
    lambda text: text.removesuffix("\n"),
    "---\n{}".format,
    "{}...\n".format,
    with_comments,
    lambda text: indent(text, "  "),
    lambda text: "".join(reversed(re.split(r"^(?=- )", text, flags=re.MULTILINE))),
)
EMPTY = ("[]\n", "[]", "# none\n[] # none yet\n# end", "[]\r\n")
SIGNATURES_WITH_COMMENTS = """\
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
# end"""
TYPES_FIRST = """\
type SendNotificationsOutput {
  accepted: Int!
}
input NotificationInput {
  template_code: String!
}
type Mutation {
  sendNotifications(notifications: [NotificationInput!]!): SendNotificationsOutput
}"""


def check_merging_and_taking_out(project: Project) -> None:
    before = project.files()
    project.run("merge")
    project.run("check")
    merged = project.files()
    project.run("merge")
    assert project.files() == merged
    project.run("unmerge")
    assert project.files() == before


@pytest.mark.parametrize("number", range(3))
def test_what_has_an_odd_form_comes_back_byte_for_byte(number: int, project: Project) -> None:
    """Each list has another form. What taking out cannot restore is in the record."""
    paths = [f"metadata/{name}.yaml" for name in LISTS]
    for place, path in enumerate(paths, number % 2 * len(LISTS)):
        project.write(path, FORMS[place](project.read(path)) if number < 2 else EMPTY[place])
    permissions = ("    permissions: []\n", PERMISSIONS, "    permissions: [] # none\n")
    project.edit(ACTIONS, "    comment:", f"{permissions[number]}    comment:")
    if number == 0:
        project.write(ACTIONS, crlf(project.read(ACTIONS)))
    signatures = project.read(SIGNATURES)
    odd = (crlf(signatures), SIGNATURES_WITH_COMMENTS, TYPES_FIRST)
    project.write(SIGNATURES, odd[number])
    check_merging_and_taking_out(project)
    project.run("merge")
    actions = yaml.safe_load(project.read(ACTIONS))["actions"]
    (action,) = (each for each in actions if each["name"] == "sendNotifications")
    roles = ["crm_admin", "pancake_service", "zalo"] if number == 1 else ["pancake_service"]
    assert [each["role"] for each in action["permissions"]] == roles


OTHER_KINDS = {
    "remote_schemas": "- name: zalo\n  definition:\n    url: '{{ZALO_URL}}'\n",
    "network": "tls_allowlist: []\n",
    "inherited_roles": "- role_name: lead\n  role_set:\n    - crm_admin\n",
    "api_limits": "depth_limit:\n  global: 5\n  per_role: {}\ndisabled: false\n",
}
TRANSFORM = "      request_transform:\n        template_engine: Kriti\n        url: '{{$base_url}}/v2'\n"
"""What the stand-in for Hasura does not execute."""


def test_missing_files_are_created_and_removed_again_and_other_kinds_stay(project: Project) -> None:
    for name in LISTS:
        project.path(f"metadata/{name}.yaml").unlink()
    project.path("migrations/default/1600000000000_init/up.sql").unlink()
    for kind, text in OTHER_KINDS.items():
        project.write(f"metadata/{kind}.yaml", text)
    project.edit(ACTIONS, "      timeout: 10\n", f"      timeout: 10\n{TRANSFORM}")
    check_merging_and_taking_out(project)
    assert not (METADATA.parent / RECORD).exists()
    # If they export in between, the file is theirs, and without ours it is an empty list.
    project.run("merge")
    assert {kind: project.read(f"metadata/{kind}.yaml") for kind in OTHER_KINDS} == OTHER_KINDS
    assert TRANSFORM in project.read(ACTIONS)
    project.write(ALLOW_LIST, project.read(ALLOW_LIST) + "\n")
    project.run("unmerge")
    assert project.read(ALLOW_LIST) == "[]\n\n"


def test_actions_of_ours_in_one_type_with_theirs_are_refused(project: Project) -> None:
    project.run("merge")
    project.edit(SIGNATURES, "}\n\ntype Mutation {\n  sendNotifications(", "  sendNotifications(")
    before = project.files()
    said = project.run("unmerge", code=1)
    assert f"{SIGNATURES}: pancake_trace_lead shares its `type` with sendNotifications" in said
    assert project.files() == before


def test_several_databases_are_refused_until_one_is_chosen(project: Project) -> None:
    theirs = project.read(DATABASES)
    project.write(DATABASES, theirs + theirs.replace("default", "logs").replace("tables.yaml", "none.yaml"))
    project.write("metadata/databases/logs/tables/none.yaml", "[]\n")
    before = project.files()
    for source in ((), ("--hasura-source", "crm")):
        assert "Choose one with --hasura-source: default, logs" in project.run("merge", *source, code=2)
    assert project.files() == before
    project.run("merge", "--hasura-source", "default")
    assert project.path(f"{TABLES}/public_pancake_source.yaml").exists()
    assert project.read("metadata/databases/logs/tables/none.yaml") == "[]\n"
    project.run("unmerge", "--hasura-source", "default")
    assert project.files() == before


TABLE = f"{TABLES}/public_integration_change.yaml"
FOREIGN_TABLE = """\
table:
  name: integration_change
  schema: public
select_permissions:
  - role: user
    permission:
      columns: [id, title, owner]
      filter: {}
"""
TAKEN = "exists and belongs to another application"
REFUSED: list[tuple[str, list[tuple[str, str, str]]]] = [
    (f"cron trigger pancake_sync_sources {TAKEN}",
     [(CRONS, "name: zalo_refresh", "name: pancake_sync_sources")]),
    (f"table public.integration_change {TAKEN}",
     [(f"{TABLES}/tables.yaml", "- ", f'- "!include {Path(TABLE).name}"\n- '), (TABLE, "", FOREIGN_TABLE)]),
    (f"action pancake_replay_events {TAKEN}",
     [(ACTIONS, "actions:\n",
       "actions:\n  - name: pancake_replay_events\n    definition:\n      handler: '{{DIVA_URL}}/x'\n"),
      (SIGNATURES, "type Mutation",
       "type Mutation {\n  pancake_replay_events: SendNotificationsOutput\n}\n\ntype Mutation")]),
    (f"object type PancakeIngestAck {TAKEN}",
     [(ACTIONS, "  objects:\n", "  objects:\n    - name: PancakeIngestAck\n"),
      (SIGNATURES, "type Send", "type PancakeIngestAck {\n  id: Int\n}\n\ntype Send")]),
    (f"REST endpoint pancake_record {TAKEN}", [(ENDPOINTS, "name: zz_me", "name: pancake_record")]),
    ("the path pancake/record belongs to the REST endpoint zz_me",
     [(ENDPOINTS, "url: me", "url: pancake/record")]),
    (f"query collection pancake_calls {TAKEN}",
     [(COLLECTIONS, "- name: zalo", "- name: pancake_calls"),
      (ENDPOINTS, "collection_name: zalo", "collection_name: pancake_calls")]),
    ("the migration 1777870069931_theirs has the version of our",
     [("migrations/default/1777870069931_theirs/up.sql", "", "SELECT 1;\n")]),
    ("the migration 1777870069931_create_pancake_tables exists with another text",
     [("migrations/default/1777870069931_create_pancake_tables/up.sql", "", "SELECT 1;\n")]),
    (f"{ACTIONS}: the action sendNotifications is missing",
     [(ACTIONS, "name: sendNotifications", "name: other")]),
    (f"{ACTIONS}: actions.sendNotifications has no line for each key",
     [(ACTIONS, "  - name: send", "  - {name: sendNotifications, definition: {a: 1}}\n  - name: other")]),
    (f"{ACTIONS}: actions.sendNotifications has no line for each key",
     [(ACTIONS, "  - name: send", "  - {name: sendNotifications, permissions: []}\n  - name: other")]),
    (f"{CRONS}: the file is not",
     [(CRONS, CRON, '[{name: x, webhook: "http://x", schedule: "* * * * *"}]')]),
    (f"{CRONS}: the file is not", [(CRONS, CRON, "--- []\n")]),
    *((f"{CRONS}: the file {NOTHING}", [(CRONS, CRON, text)]) for text in ("---\n", "null\n", "# none", "")),
    (f"{ACTIONS}: actions.sendNotifications.permissions {NOTHING}",
     [(ACTIONS, "    comment:", "    permissions:\n    comment:")]),
    (f"{DATABASES} lists no database. {EXPORT}", [(DATABASES, "", "---\n")]),
    (f"{DATABASES}: the functions of default are not a list. {EXPORT}",
     [(DATABASES, "  tables:", "  functions:\n  tables:")]),
    (f"{CRONS}: line 2", [(CRONS, "- name: diva_nightly\n", "-\n  name: diva_nightly\n")]),
    ("not valid YAML", [(CRONS, CRON, "- name: [")]),
    ("custom_types.objects is missing", [(ACTIONS, "  objects:\n    - name: SendNotificationsOutput\n", "")]),
    ("version 3 of the CLI's config", [("config.yaml", "version: 3", "version: 2")]),
    (f"{DATABASES}: the tables of default have no file of their own. {EXPORT}",
     [(DATABASES, ' "!include default/tables/tables.yaml"', "")]),
]  # fmt: skip
"""What a merge says, and the edits that are refused so: a file, its old text (empty: a new file), the new."""


def test_a_merge_is_refused(project: Project, tmp_path: Path, subtests: pytest.Subtests) -> None:
    for number, (reason, edits) in enumerate(REFUSED):
        with subtests.test(reason):
            edited = Project(shutil.copytree(project.root, tmp_path / str(number)))
            for name, old, new in edits:
                edited.edit(name, old, new) if old else edited.write(name, new)
            before = edited.files()
            assert reason in edited.run("merge", code=1)
            if reason.startswith("cron trigger"):
                assert reason in edited.run("unmerge", code=1)
            assert edited.files() == before
    assert "config.yaml: cannot be read" in Project(tmp_path / "none").run("merge", code=2)


def test_nothing_outside_of_the_project_is_written(
    project: Project, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Developers of Diva make it; who merges may write where they may not."""
    outside = tmp_path / "outside"
    shutil.copytree(project.path("metadata"), outside / "metadata")
    (outside / "cron.d").mkdir()
    before = Project(outside).files()

    def link(name: str, to: str) -> Callable[[Project], None]:
        def replace(made: Project) -> None:
            path = made.path(name)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.symlink_to(outside / to)

        return replace

    def configure(key: str, folder: str) -> Callable[[Project], None]:
        return lambda made: made.write("config.yaml", f"version: 3\n{key}: {folder}\n")

    attacks: dict[str, Callable[[Project], None]] = {
        "a link of a file": link(CRONS, "metadata/cron_triggers.yaml"),
        "a link to no file": link(f"{TABLES}/public_pancake_source.yaml", "cron.d/x"),
        "a link of a folder": link("metadata", "metadata"),
        "another folder": configure("metadata_directory", "../outside/metadata"),
        "a whole path": configure("migrations_directory", f"{outside}/cron.d"),
        "a file that includes itself": lambda made: made.write(CRONS, "'!include cron_triggers.yaml'\n"),
    }
    for name, attack in attacks.items():
        with subtests.test(name):
            attacked = Project(shutil.copytree(project.root, tmp_path / name))
            attack(attacked)
            said = attacked.run("merge", code=1)
            assert f"is outside of {attacked.root}. Nothing was changed" in said or "cannot be read" in said
            assert Project(outside).files() == before


def test_a_file_that_is_not_utf8_a_broken_record_and_a_renamed_file_are_refused(project: Project) -> None:
    crons = project.path(CRONS).read_bytes()
    project.path(CRONS).write_bytes(b"# \xff\n[]\n")
    assert "cannot be read" in project.run("merge", code=1)
    project.path(CRONS).write_bytes(crons)
    project.run("merge")
    record = project.read(RECORD)
    project.write(RECORD, "{}")
    assert f"{RECORD} is not a record of a merge" in project.run("unmerge", code=1)
    project.write(RECORD, record)
    project.path(TABLE).rename(project.path(f"{TABLES}/history.yaml"))
    project.edit(f"{TABLES}/tables.yaml", "public_integration_change.yaml", "history.yaml")
    assert "public.integration_change under another name of its file" in project.run("merge", code=1)


def stop_after(monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    """End the program after so many files were put in place or removed, without any cleaning up."""
    replace, unlink = Path.replace, Path.unlink
    done: list[Path] = []

    def count(path: Path) -> None:
        if len(done) == changes:
            raise Crash
        done.append(path)

    def stop_replacing(path: Path, target: Path) -> None:
        count(path)
        replace(path, target)

    def stop_removing(path: Path, missing_ok: bool = False) -> None:
        if path.suffix != ".partial":
            count(path)
            unlink(path, missing_ok)

    monkeypatch.setattr(Path, "replace", stop_replacing)
    monkeypatch.setattr(Path, "unlink", stop_removing)


@pytest.mark.parametrize("changes", [0, 5, 30])
def test_a_second_run_repairs_an_interrupted_one(changes: int, project: Project) -> None:
    project.write(CRONS, "# none\n[] # yet\n")
    before = project.files()
    for verb in ("merge", "unmerge"):
        with pytest.MonkeyPatch.context() as patched:
            stop_after(patched, changes)
            with pytest.raises(Crash):
                project.run(verb)
        project.run(verb)
        assert not [name for name in project.files() if name.endswith(".partial")]
        if verb == "merge":
            project.run("check")
    assert project.files() == before


def test_a_read_only_directory_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing changes; also for root, whom permissions do not stop."""
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
