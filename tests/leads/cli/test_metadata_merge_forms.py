"""Projects with odd but valid content are edited byte for byte, or refused by the name of the file."""

import json
from pathlib import Path

import pytest
import yaml

from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.pieces import split
from leads.cli.metadata.project.editors import (
    IN_ACTIONS,
    ActionsFile,
    ListFile,
    SignaturesFile,
    blocks_of,
    definitions_of,
)
from leads.cli.metadata.project.sdl_blocks import find_definitions
from tests.support.hasura_project import CRON, OWN, TABLES, Project, make_project

ACTIONS = "metadata/actions.yaml"
SIGNATURES = "metadata/actions.graphql"
CRONS = "metadata/cron_triggers.yaml"
ALLOW_LIST = "metadata/allow_list.yaml"
LISTS = ("cron_triggers", "query_collections", "rest_endpoints", "allow_list")
PERMISSIONS = "    permissions:\n      - role: crm_admin\n      - role: zalo # theirs\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "hasura")


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


def listed(name: str, text: str) -> list[str]:
    """Return the items of a list, each as JSON, in one order."""
    return sorted(json.dumps(item) for item in yaml.safe_load(text) or [])


@pytest.mark.parametrize("form", [form for form, (name, _) in ODD.items() if name != SIGNATURES])
def test_lists_of_odd_forms_stay_byte_for_byte(form: str) -> None:
    name, text = ODD[form]
    editor = list_editor(name)
    merged = editor.put_in(text)
    ours = (OWN / Path(name).name).read_text("utf-8")
    assert listed(name, merged or "") == sorted(listed(name, ours) + listed(name, text))
    for line in text.splitlines():
        assert line.removeprefix("[]").strip(" ") in (merged or "") or line == "null"
    back = editor.take_out(merged)
    assert back == text if listed(name, text) else yaml.safe_load(back or "") == []


@pytest.mark.parametrize("form", [form for form, (name, _) in ODD.items() if name == SIGNATURES])
def test_signatures_of_odd_forms_stay_byte_for_byte(form: str) -> None:
    _, text = ODD[form]
    editor = signatures_editor()
    merged = editor.put_in(text)
    names = [
        {name for each in find_definitions(part, "") for name in each.names}
        for part in (text, (OWN / SIGNATURES[9:]).read_text("utf-8"), merged)
    ]
    assert names[2] == names[0] | names[1]
    assert editor.take_out(merged) == text


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("permissions", ["", PERMISSIONS])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_permission_is_added_to_what_they_have(
    permissions: str, last: bool, end: str, ending: str
) -> None:
    text = (
        "custom_types:\n  input_objects:\n    - name: NotificationInput\n"
        "  objects:\n    - name: SendNotificationsOutput\n"
        "actions:\n  - name: sendNotifications\n    definition:\n      handler: '{{DIVA_URL}}/n' # theirs\n"
        "      timeout: 10\n      # the last of the definition\n" + permissions
        + ("" if last else "    comment: x\n")
    )  # fmt: skip
    text = (text.removesuffix("\n") + end).replace("\n", ending)
    editor = actions_editor()
    merged = editor.put_in(text)
    (action,) = (each for each in yaml.safe_load(merged)["actions"] if each["name"] == "sendNotifications")
    roles = [each["role"] for each in action["permissions"]]
    assert roles == (["crm_admin", "pancake_service", "zalo"] if permissions else ["pancake_service"])
    assert editor.take_out(merged) == text


@pytest.mark.parametrize("key", ["permissions: []", "permissions:", "permissions: [] # none"])
def test_an_empty_list_of_permissions_is_filled(key: str, project: Project) -> None:
    project.edit(ACTIONS, "    comment:", f"    {key}\n    comment:")
    before = project.files()
    project.run("merge")
    project.run("check")
    project.run("unmerge")
    assert project.files() == before


def test_empty_lists_of_odd_forms_come_back_byte_for_byte(project: Project) -> None:
    """What taking out cannot restore is in the record."""
    for name, form in zip(LISTS, ("# none\n[] # yet\n# end", "[]\r\n", "---\n", "# none"), strict=True):
        project.write(f"metadata/{name}.yaml", form)
    before = project.files()
    project.run("merge")
    project.run("check")
    merged = project.files()
    project.run("merge")
    assert project.files() == merged
    project.run("unmerge")
    assert project.files() == before


def test_missing_files_are_created_and_removed_again(project: Project) -> None:
    for name in LISTS:
        project.path(f"metadata/{name}.yaml").unlink()
    project.path("migrations/default/1600000000000_init/up.sql").unlink()
    before = project.files()
    project.run("merge")
    project.run("check")
    project.run("unmerge")
    assert project.files() == before


def test_an_empty_list_that_the_export_wrote_stays_after_a_missing_file(project: Project) -> None:
    """They exported since: the file is theirs now, and without ours it is an empty list."""
    project.path(ALLOW_LIST).unlink()
    project.run("merge")
    project.write(ALLOW_LIST, project.path(ALLOW_LIST).read_text() + "\n")
    project.run("unmerge")
    assert project.path(ALLOW_LIST).read_text() == "[]\n\n"


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (CRONS, CRON, '[{name: x, webhook: "http://x", schedule: "* * * * *"}]', f"{CRONS}: the file is not"),
        (CRONS, "- name: diva_nightly\n", "-\n  name: diva_nightly\n", f"{CRONS}: line 2"),
        (CRONS, CRON, "- name: [", "not valid YAML"),
        (ACTIONS, "  objects:\n    - name: SendNotificationsOutput\n", "", "custom_types.objects is missing"),
        ("config.yaml", "version: 3", "version: 2", "version 3 of the CLI's config"),
        (
            "metadata/databases/databases.yaml",
            '"!include default/tables/tables.yaml"',
            "[]",
            "databases.yaml: the tables of default have no file",
        ),
    ],
)
def test_a_form_that_cannot_be_edited_is_refused_by_name(
    name: str, old: str, new: str, reason: str, project: Project
) -> None:
    project.edit(name, old, new)
    before = project.files()
    assert reason in project.run("merge", code=1)
    assert project.files() == before


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


def test_a_directory_that_is_no_project_is_wrong_usage(tmp_path: Path) -> None:
    assert "config.yaml: cannot be read" in Project(tmp_path).run("merge", code=2)


def test_remote_schemas_and_settings_of_theirs_stay(project: Project) -> None:
    """Kinds that we do not use."""
    project.write("metadata/remote_schemas.yaml", "- name: zalo\n  definition:\n    url: '{{ZALO_URL}}'\n")
    project.write("metadata/network.yaml", "tls_allowlist: []\n")
    before = project.files()
    project.run("merge")
    project.run("unmerge")
    assert project.files() == before
    assert not (OWN.parent / "leads-merge.json").exists()
