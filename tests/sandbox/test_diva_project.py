"""The engines of the sandbox start with what `leads metadata merge` makes of Diva's project."""

import re
import shlex
import shutil
from pathlib import Path

from typer.testing import CliRunner

from leads.cli.__main__ import app
from sandbox.diva.project import copy_project, merge_project

ROOT = Path(__file__).parents[2]
OUTPUT = "/project"


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["metadata", *arguments])
    assert result.exit_code == 0, result.output


def test_the_merged_project_is_whole_and_current(tmp_path: Path) -> None:
    metadata = merge_project(tmp_path / "project")
    assert metadata == tmp_path / "project" / "metadata"
    run("check", str(tmp_path / "project"))


def test_taking_our_part_out_gives_back_divas_project(tmp_path: Path) -> None:
    copy_project(tmp_path / "theirs")
    merge_project(tmp_path / "project")
    run("unmerge", str(tmp_path / "project"))
    assert files(tmp_path / "project") == files(tmp_path / "theirs")


def test_the_image_makes_the_same_project(tmp_path: Path) -> None:
    """The line of the Dockerfile, carried out in a directory of the test."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^RUN mkdir /project && (.*)$", text, re.MULTILINE)
    copy, merge = (shlex.split(part) for part in line.split("&&"))
    target = tmp_path / "image"
    target.mkdir()
    for source in copy[2:-1]:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copy(path, target)
    assert (copy[:2], copy[-1], merge[:2]) == (["cp", "-r"], OUTPUT, ["leads", "metadata"])
    where = {OUTPUT: str(target), "hasura/metadata": str(ROOT / "hasura/metadata")}
    run(*(where.get(argument, argument) for argument in merge[2:]))
    merge_project(tmp_path / "project")
    assert files(target) == files(tmp_path / "project")
    assert re.findall(r"^COPY --from=sandbox (\S+) (\S+)$", text, re.MULTILINE) == [
        (f"{OUTPUT}/metadata", "/hasura-metadata"),
        (f"{OUTPUT}/migrations", "/hasura-migrations"),
    ]


def files(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
