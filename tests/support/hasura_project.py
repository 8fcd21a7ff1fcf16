"""A project directory of the Hasura CLI like Diva's, with more in it than the sandbox's metadata."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.diva.project import copy_project
from sandbox.metadata_form.files import formatted_files

ROOT = Path(__file__).parents[2]
OWN = ROOT / "hasura" / "metadata"
TABLES = "metadata/databases/default/tables"
CRON = """\
- name: diva_nightly
  webhook: '{{DIVA_URL}}/nightly'
  schedule: 0 1 * * *
  include_in_metadata: true
  payload: {}
- name: zalo_refresh
  webhook: '{{DIVA_URL}}/zalo'
  schedule: 0 2 * * *
  include_in_metadata: true
  payload: {}
"""
COLLECTIONS = """\
- {name: allowed-queries, definition: {queries: [{name: diva_me, query: "query Me { staff { id } }"}]}}
- {name: zalo, definition: {queries: [{name: zalo_staff, query: "query Zalo { staff { id } }"}]}}
"""
ENDPOINTS = """\
- {name: zz_me, url: me, methods: [GET], comment: Who am I,
   definition: {query: {collection_name: allowed-queries, query_name: diva_me}}}
- {name: aa_staff, url: zalo/staff, methods: [GET], comment: Staff,
   definition: {query: {collection_name: zalo, query_name: zalo_staff}}}
"""
ALLOWED = "- collection: allowed-queries\n  scope:\n    global: true\n"


@dataclass(frozen=True)
class Project:
    """The project, and what it held before."""

    root: Path

    def path(self, name: str) -> Path:
        return self.root / name

    def files(self) -> dict[str, bytes]:
        """Return the bytes of every file, hidden ones too."""
        paths = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}

    def read(self, name: str) -> str:
        return self.path(name).read_bytes().decode()

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(text.encode())

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def run(self, verb: str, *arguments: str, code: int = 0) -> str:
        """Run `leads metadata <verb>` on this project, and return what it printed."""
        target = ("--into", str(self.root)) if verb == "merge" else (str(self.root),)
        result = CliRunner().invoke(app, ["metadata", verb, *target, *arguments], env={"COLUMNS": "500"})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == code, result.output
        return result.output


def make_project(root: Path) -> Project:
    """Create Diva's project in the form of `hasura metadata export`, without the permission of our role."""
    copy_project(root)
    project = Project(root)
    project.write("metadata/cron_triggers.yaml", CRON)
    project.write("metadata/query_collections.yaml", COLLECTIONS)
    project.write("metadata/rest_endpoints.yaml", ENDPOINTS)
    project.write("metadata/allow_list.yaml", ALLOWED)
    project.edit("metadata/actions.yaml", "    permissions:\n      - role: pancake_service\n", "")
    project.write("migrations/default/1600000000000_init/up.sql", "SELECT 1;\n")
    for path, text in formatted_files(root / "metadata").items():
        path.write_text(text, "utf-8")
    return project


def make_own(folder: Path) -> Path:
    """Copy our metadata and migrations, to be changed into another version; return the metadata directory."""
    shutil.copytree(OWN, folder / "metadata")
    shutil.copytree(OWN.parent / "migrations", folder / "migrations")
    return folder / "metadata"
