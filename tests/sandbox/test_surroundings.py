"""What surrounds the handlers in the sandbox: Diva's project and notifications, leads to send.

And the form of `hasura metadata export`: applying what it wrote and exporting again changes no byte.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from leads.domain.phone import read_phones
from ops.cli import app as leads
from ops.metadata.directory import DIRECTORY
from sandbox.__main__ import app
from sandbox.diva.notifications import create_app as create_notifications
from sandbox.diva.project import copy_project, merge_project
from scripts.metadata_form import UnknownForm, format_file, format_query, format_signatures, formatted_files

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> None:
    result = CliRunner().invoke(leads, ["metadata", *arguments])
    assert result.exit_code == 0, result.output


def files(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_the_merged_project_is_whole_and_taking_our_part_out_gives_back_divas(tmp_path: Path) -> None:
    metadata = merge_project(tmp_path / "project")
    assert metadata == tmp_path / "project" / "metadata"
    run("check", str(tmp_path / "project"))
    copy_project(tmp_path / "theirs")
    run("unmerge", str(tmp_path / "project"))
    assert files(tmp_path / "project") == files(tmp_path / "theirs")


def test_the_image_makes_the_same_project(tmp_path: Path) -> None:
    """The line of the Dockerfile, carried out in a directory of the test."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    (line,) = re.findall(r"^RUN mkdir /project && (.*)$", text, re.MULTILINE)
    target = tmp_path / "image"
    target.mkdir()
    command = re.sub(r"(?<=\s)/project", str(target), line).replace(
        "leads metadata", "scripts/leads metadata"
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    merge_project(tmp_path / "project")
    assert files(target) == files(tmp_path / "project")
    for part in ("metadata", "migrations"):
        assert f"COPY --from=sandbox /project/{part} /hasura-{part}\n" in text


def reversed_keys(value: Any) -> Any:
    """Return the value with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(list(value))}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_our_metadata_has_the_form_of_an_export(tmp_path: Path, subtests: pytest.Subtests) -> None:
    shutil.copytree(DIRECTORY, tmp_path, dirs_exist_ok=True)
    for path, text in formatted_files(tmp_path).items():
        with subtests.test(str(path.relative_to(tmp_path))):
            assert path.read_text() == text, "run scripts/check --fix"
            if path.suffix == ".yaml":
                mixed = reversed_keys(yaml.safe_load(text))
                path.write_text(yaml.dump(mixed, sort_keys=False, default_style="'"))
                assert format_file(path) == text


def test_what_was_never_seen_is_refused_by_name() -> None:
    with pytest.raises(UnknownForm, match="fragments and directives"):
        format_query("query A { staff { ...Names } }")
    with pytest.raises(UnknownForm, match="enum_type_definition"):
        format_signatures("enum Mood { GOOD }")


async def notify(client: httpx.AsyncClient, *keys: str) -> httpx.Response:
    sent = [
        {"template_code": "noti", "recipient_ids": ["a"], "data": {}, "idempotency_key": key} for key in keys
    ]
    call = {
        "action": {"name": "sendNotifications"},
        "input": {"notifications": sent},
        "session_variables": {"x-hasura-role": "pancake_service"},
        "request_query": "mutation { sendNotifications }",
    }
    return await client.post("/actions/sendNotifications", json=call)


async def test_the_notification_service_knows_repeated_keys_and_refuses_other_calls() -> None:
    transport = httpx.ASGITransport(app=create_notifications())
    async with httpx.AsyncClient(transport=transport, base_url="http://notifications") as client:
        assert (await notify(client, "1", "2")).json() == {"accepted": 2, "duplicates": 0}
        assert (await notify(client, "2", "3")).json() == {"accepted": 1, "duplicates": 1}
        sent = (await client.get("/sent")).json()["sent"]
        assert [item["idempotency_key"] for item in sent] == ["1", "2", "3"]
        bodies: list[Any] = [{}, [], {"action": {"name": "other"}, "input": {}}]
        for body in bodies:
            answer = await client.post("/actions/sendNotifications", json=body)
            assert (answer.status_code, "message" in answer.json()) == (400, True)


URL = "http://127.0.0.1:9/api/pancake/record/token"


def send(*words: str, url: str = URL) -> Result:
    return CliRunner().invoke(app, ["send", *words], env={"WEBHOOK_URL": url})


def test_leads_and_files_are_posted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bodies: list[bytes] = []

    def post(url: str, *, content: bytes, **options: object) -> httpx.Response:
        assert url == URL
        bodies.append(content)
        return httpx.Response(200, text='{"status": "received"}')

    monkeypatch.setattr(httpx, "post", post)
    body, env = tmp_path / "body", tmp_path / "env"
    body.write_bytes(b"{ not json")
    env.write_text(f"HASURA_URL=x\nWEBHOOK_URL={URL}\n")
    results = [send("happy"), send("no-phone"), send("duplicate"), send(str(body))]
    results.append(send("happy", "--env-file", str(env), url=""))
    assert [result.exit_code for result in results] == [0] * 5
    assert results[2].stdout == '200 {"status": "received"}\n' * 2
    happy, no_phone, first, second, of_file, happy_again = bodies
    assert (first == second, of_file) == (True, b"{ not json")
    assert read_phones([json.loads(happy)["phone_number"]]).usable
    assert not read_phones([json.loads(no_phone)["phone_number"]]).usable
    assert json.loads(happy)["id"] != json.loads(happy_again)["id"]
