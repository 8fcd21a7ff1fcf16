"""Diva's names of roles: each stands in one place, and one documented change gives another name."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from leads.cli.metadata.directory import DIRECTORY, read_directory, role_of_action

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "docs" / "diva-contract.md"
SOURCES = ("app.py", "cron", "handlers", "leads", "sql", "hasura", "deploy")
STAFF_ROLE = re.compile(r"""(?<!pancake_staff_role\()(['"])(admin|manager|telesale)\1""")
DEFINITION = re.compile(r"CREATE FUNCTION public\.pancake_staff_role.*?^\$\$;", re.DOTALL | re.MULTILINE)
HASURA_ROLE = re.compile(r"crm_(?:admin|manager|telesale)")
PERMISSION = re.compile(r"^ *- role: crm_(?:admin|manager)$", re.MULTILINE)


def files() -> list[Path]:
    """Return every file of the product that may name a role."""
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


def test_the_words_that_the_statements_use_are_mapped() -> None:
    used = {
        word
        for path in files()
        for word in re.findall(r"pancake_staff_role\('(\w+)'\)", path.read_text("utf-8"))
    }
    (definition,) = [found for path in files() for found in DEFINITION.findall(path.read_text("utf-8"))]
    assert used
    assert used <= set(re.findall(r"WHEN '(\w+)'", definition))


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
