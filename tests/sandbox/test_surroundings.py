"""What surrounds the handlers in the sandbox: Diva's tables and notifications, an edge, leads to send."""

import base64
import json
import re
import shlex
import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner, Result

from leads.cli.__main__ import app as leads
from leads.domain.phone import read_phones
from sandbox.__main__ import app
from sandbox.diva.notifications import create_app as create_notifications
from sandbox.diva.project import copy_project, merge_project
from sandbox.page.render import page
from sandbox.payloads import load_samples
from sandbox.send import KINDS, new_lead
from sandbox.stack.edge import MAX_BODY_BYTES
from sandbox.stack.edge import create_app as create_edge

ROOT = Path(__file__).parents[2]
CONTRACT = {
    "account": "id display_name phone_code phone_number phone_enabled deleted_at created_at",
    "contact_book": "id account_id name email address created_at updated_at",
    "crm_master_data": "id name type disabled updated_at",
    "ticket": "id code title description source_id account_id contact_book_id assignee_id status"
    " first_response_at data created_at updated_at",
    "staff": "id full_name role is_active on_duty",
    "module_permission_action": "id module action role",
    "notification_template": "id code title body channel",
    "app_setting": "id app_settings",
    "customer_consent": "account_id consent_data consent_version",
}
"""What exists before our migrations."""


def test_divas_tables_have_the_columns_we_use_and_know_nothing_of_pancake(diva_database: str) -> None:
    with psycopg.connect(diva_database) as db:
        for table, columns in CONTRACT.items():
            rows = db.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [table]
            ).fetchall()
            assert {name for (name,) in rows} == set(columns.split()), table
        last = db.execute('SELECT max("timestamp") FROM controller.migration_log').fetchone()
        tables = db.execute("SELECT relname FROM pg_class WHERE relname LIKE 'pancake%'").fetchall()
        sources = db.execute(
            "SELECT id FROM crm_master_data WHERE type = 'ticket_source' ORDER BY id"
        ).fetchall()
    assert last == (1777870069927,), "the one before the integration"
    assert tables == []
    assert sources == [(f"ticket_source_{number}",) for number in range(1, 9)]


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
    assert (copy[:2], copy[-1], merge[:2]) == (["cp", "-r"], "/project", ["leads", "metadata"])
    where = {"/project": str(target), "hasura/metadata": str(ROOT / "hasura/metadata")}
    run(*(where.get(argument, argument) for argument in merge[2:]))
    merge_project(tmp_path / "project")
    assert files(target) == files(tmp_path / "project")
    assert re.findall(r"^COPY --from=sandbox (\S+) (\S+)$", text, re.MULTILINE) == [
        ("/project/metadata", "/hasura-metadata"),
        ("/project/migrations", "/hasura-migrations"),
    ]


def notifications() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=create_notifications())
    return httpx.AsyncClient(transport=transport, base_url="http://notifications")


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


async def sent_keys(client: httpx.AsyncClient) -> list[str]:
    return [item["idempotency_key"] for item in (await client.get("/sent")).json()["sent"]]


async def test_a_notification_with_a_repeated_key_is_a_duplicate_unless_keys_are_ignored() -> None:
    async with notifications() as client:
        assert (await notify(client, "1", "2")).json() == {"accepted": 2, "duplicates": 0}
        assert (await notify(client, "2", "3")).json() == {"accepted": 1, "duplicates": 1}
        assert await sent_keys(client) == ["1", "2", "3"]
        await client.post("/control", json={"ignore_keys": True})
        assert (await notify(client, "1", "1")).json() == {"accepted": 2, "duplicates": 0}


async def test_the_notification_service_fails_as_often_as_configured() -> None:
    async with notifications() as client:
        await client.post("/control", json={"fail": 1, "fail_after_accepting": 1})
        assert [(await notify(client, key)).status_code for key in "123"] == [500, 500, 200]
        assert await sent_keys(client) == ["2", "3"]


async def test_another_envelope_or_an_unknown_fault_is_refused() -> None:
    async with notifications() as client:
        bodies: list[Any] = [{}, [], {"action": {"name": "other"}, "input": {}}]
        for body in bodies:
            answer = await client.post("/actions/sendNotifications", json=body)
            assert answer.status_code == 400
            assert "message" in answer.json()
        assert (await client.post("/control", json={"explode": True})).status_code == 400


class Hasura:
    """Records the calls and gives the same answer to each."""

    def __init__(self, status: int = 200, body: object = None) -> None:
        self.calls: list[httpx.Request] = []
        self._answer = (status, body)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        return httpx.Response(self._answer[0], json=self._answer[1])

    async def post(self, content: bytes) -> httpx.Response:
        """Post to the small edge in front of this Hasura."""
        edge = create_edge("http://hasura", "a-jwt", httpx.MockTransport(self.handle))
        transport = httpx.ASGITransport(app=edge, client=("192.0.2.7", 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.post("/api/pancake/record/the-token", content=content)


async def test_the_small_edge_hands_a_delivery_to_hasura_and_answers_502_if_that_does_not_accept_it() -> None:
    """tests/end_to_end/test_leads.py holds that it takes the same path as the real one."""
    hasura = Hasura(body={"pancake_ingest_record": {"status": "received"}})
    assert (await hasura.post(b'{"id": \xff')).json() == {"status": "received"}
    (call,) = hasura.calls
    sent = json.loads(call.content)
    assert (base64.b64decode(sent["raw"]), sent["source_ip"]) == (b'{"id": \xff', "192.0.2.7")
    assert datetime.fromisoformat(sent["arrived_at"]).tzinfo is not None
    assert "the-token" not in call.content.decode()
    too_large = await hasura.post(b" " * (MAX_BODY_BYTES + 1))
    assert (too_large.status_code, too_large.json()) == (200, {"status": "too_large"})
    assert len(hasura.calls) == 1
    for status, body in ((500, {}), (200, {}), (400, {"error": "x", "code": "y"})):
        assert (await Hasura(status, body).post(b"{}")).status_code == 502


def test_there_are_samples_of_each_kind_in_the_required_order_and_like_their_titles() -> None:
    samples = {sample.name: sample for sample in load_samples()}
    kinds = Counter(sample.kind for sample in samples.values())
    assert kinds == {"happy": 1, "edge": 5, "invalid": 3, "duplicate": 2}
    names = list(samples)
    for sample in samples.values():
        assert all(names.index(before) < names.index(sample.name) for before in sample.after)
    assert samples["10-same-bytes"].body == samples["01-happy-path"].body
    records = {name: json.loads(sample.body) for name, sample in samples.items() if name != "07-not-json"}
    first, other = records["02-enveloped"], records["11-other-layout"]
    assert (first == other, list(first) == list(other)) == (True, False)
    assert "id" not in records["08-no-record-id"]
    assert records["06-later-version"]["id"] == records["01-happy-path"]["id"]
    assert records["06-later-version"]["modified_on"] > records["01-happy-path"]["modified_on"]
    assert all(isinstance(source, int) for source in records["05-loose-types"]["source"])


URL = "http://127.0.0.1:9/api/pancake/record/token"


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that were posted to URL."""
    bodies: list[bytes] = []

    def post(url: str, *, content: bytes, **options: object) -> httpx.Response:
        assert url == URL
        bodies.append(content)
        return httpx.Response(200, text='{"status": "received"}')

    monkeypatch.setattr(httpx, "post", post)
    return bodies


def send(*words: str, url: str = URL) -> Result:
    return CliRunner().invoke(app, ["send", *words], env={"WEBHOOK_URL": url})


@pytest.mark.parametrize(("what", "calls"), [("happy", 1), ("no-phone", 1), ("duplicate", 2)])
def test_a_lead_of_a_kind_is_posted(posted: list[bytes], what: str, calls: int) -> None:
    result = send(what)
    assert (result.exit_code, result.stdout) == (0, '200 {"status": "received"}\n' * calls)
    assert len(posted) == calls
    assert len(set(posted)) == 1


def test_each_call_makes_another_lead_with_a_usable_phone_or_without_one() -> None:
    made = [new_lead(KINDS["happy"]) for _ in range(3)]
    assert len({lead["id"] for lead in made}) == 3
    assert all(read_phones([lead["phone_number"]]).usable for lead in made)
    assert not read_phones([new_lead(KINDS["no-phone"])["phone_number"]]).usable


def test_a_file_is_posted_as_it_is_to_the_url_in_the_file_of_the_sandbox(
    posted: list[bytes], tmp_path: Path
) -> None:
    body, env = tmp_path / "body", tmp_path / "env"
    body.write_bytes(b"{ not json")
    env.write_text(f"HASURA_URL=x\nWEBHOOK_URL={URL}\n")
    assert send(str(body)).exit_code == 0
    assert send("happy", "--env-file", str(env), url="").exit_code == 0
    assert posted[0] == b"{ not json"
    assert json.loads(posted[1])["type"] == "records"


@pytest.mark.parametrize(
    ("words", "url", "code", "said"),
    [
        (["nonsense"], URL, 2, "nonsense is neither a file nor one of happy, no-phone, duplicate."),
        (["happy"], "", 2, "WEBHOOK_URL is not set"),
        (["happy", "--env-file", "/missing"], "", 2, "/missing cannot be read"),
        (["happy"], URL, 3, "The edge does not answer: Connection refused"),
    ],
)
def test_what_cannot_be_sent_is_said(words: list[str], url: str, code: int, said: str) -> None:
    result = send(*words, url=url)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_the_page_names_a_call_that_exists() -> None:
    (kind,) = re.findall(r"<code>scripts/sandbox send (\S+) --env-file \.env</code>", page("", [], "t", "n"))
    assert kind in KINDS
