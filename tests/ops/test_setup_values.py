"""The values that `leads setup` writes for the way in which the services run."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.failures import WrongUsage
from ops.golive.deploy.step import Found, State, Step
from ops.setup.answers import gather
from ops.setup.env_files import read_env_files
from ops.setup.values import ValueFile, value_files, value_steps
from sandbox.processes import ROOT

OF_COMPOSE = {
    "way": "compose",
    "public_url": "https://crm.example.com",
    "handlers_url": "http://handlers:8080",
}


def values(folder: Path, **given: str) -> list[ValueFile]:
    """What setup writes beside the folder `pancake` of this one."""
    files = read_env_files(folder / "pancake")
    return value_files(gather(OF_COMPOSE | given, None, files), files.folder)


def values_step(folder: Path, **given: str) -> Step:
    """The step that writes it."""
    files = read_env_files(folder / "pancake")
    files.folder.mkdir(exist_ok=True)
    (step,) = value_steps(gather(given, None, files), files.folder)
    return step


def test_values_of_compose_follow_the_version_until_a_person_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = values(tmp_path)
    assert file.look().state is State.ABSENT
    file.write()
    assert (file.path, file.path.stat().st_mode & 0o777) == (tmp_path / ".env", 0o600)
    assert file.look().state is State.DONE
    (tmp_path / "compose.production.yaml").touch()
    images, address = "registry.example.com/pancake", "http://10.0.0.5:8080"
    (newer,) = values(tmp_path, image_tag="0.2.0", images=images, handlers_url=address)
    assert newer.look() == Found(State.PARTIAL, f"{newer.path} is of another version, or of other answers")
    newer.write()
    assert newer.path.read_text().splitlines()[1:] == [
        "PANCAKE_IMAGES=registry.example.com/pancake", "VERSION=0.2.0", "PUBLIC_HOST=crm.example.com",
        "HANDLERS_PUBLISH=10.0.0.5:8080", "COMPOSE_FILE=compose.production.yaml",
    ]  # fmt: skip
    text = newer.path.read_text().replace("0.2.0", "0.1.9") + "EDGE_WORKERS=4\n"
    newer.path.write_text(text)
    assert newer.look() == Found(
        State.DONE,
        f"{newer.path} was changed by a person, and stays; for this version it lacks: VERSION=0.2.0",
    )
    environment = subprocess.run(
        [ROOT / "scripts/read_env", newer.path], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert "EDGE_WORKERS=4" in environment.replace("'", ""), "scripts/leads reads it where it is a clone's"


def test_an_env_file_of_others_is_left_and_what_it_lacks_is_added_by_hand(tmp_path: Path) -> None:
    """Without COMPOSE_FILE the second command would start the clone's compose.yaml with its stand-ins."""
    (tmp_path / "compose.production.yaml").touch()
    (tmp_path / ".env").write_text("VERSION=0.0.1\n")
    step = values_step(tmp_path, **OF_COMPOSE)
    site: Any = None
    assert (step.check(site).state, step.do(site)) == (State.PARTIAL, [])
    lines = "PANCAKE_IMAGES=pancake-diva · PUBLIC_HOST=crm.example.com · COMPOSE_FILE=compose.production.yaml"
    assert f"Add these lines: {lines} (" in step.check(site).text
    with (tmp_path / ".env").open("a") as file:
        file.write(lines.replace(" · ", "\n"))
    assert step.check(site).state is State.DONE


def test_values_of_which_a_stop_left_a_part_are_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site: Any = None
    replace_file = Path.replace

    def stop_at_the_second(path: Path, target: Path) -> Path:
        if target.name == "engine.yaml":
            raise KeyboardInterrupt
        return replace_file(path, target)

    step = values_step(tmp_path, way="kubernetes", engine_namespace="diva", engine_app="hasura")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            step.do(site)[0].run()
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["kustomization.yaml"]
    assert step.check(site).state is State.PARTIAL
    assert step.do(site)[0].run()[0] == 0
    assert step.check(site).state is State.DONE
    assert not list(tmp_path.rglob("*.partial"))


def test_the_tag_of_the_images_is_remembered_with_the_values(tmp_path: Path) -> None:
    """A run without the answers file would set VERSION back."""
    for tag in ("0.2.0", "0.3.0"):
        site: Any = None
        (action,) = values_step(tmp_path, **OF_COMPOSE, image_tag=tag).do(site)
        assert action.run()[0] == 0
        assert gather({}, None, read_env_files(tmp_path / "pancake"))["image_tag"] == tag


def test_compose_reads_one_folder_only(tmp_path: Path) -> None:
    assert "pancake/handlers.env" in (ROOT / "compose.production.yaml").read_text()
    run = CliRunner().invoke(app, ["setup", "--way", "compose", "--folder", str(tmp_path / "other")])
    assert (run.exit_code, "reads the folder pancake" in run.stderr) == (2, True), run.output


def test_in_a_cluster_the_edge_is_asked_at_its_service(tmp_path: Path) -> None:
    files = read_env_files(tmp_path)
    found = {way: gather({"way": way}, None, files)["edge_status_url"] for way in ("systemd", "kubernetes")}
    assert found == {
        "systemd": "http://127.0.0.1:9145",
        "kubernetes": "http://edge.pancake-diva.svc.cluster.local:9145",
    }


def test_a_way_has_its_values_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    assert (values(tmp_path, way=""), values(tmp_path, way="systemd")) == ([], [])
    names = [file.path.name for file in values(tmp_path, way="kubernetes", engine_namespace="diva")]
    assert names == ["kustomization.yaml", "engine.yaml"]
    with pytest.raises(WrongUsage, match="PANCAKE_IMAGES has a blank, a quote"):
        values(tmp_path, images="a b")
