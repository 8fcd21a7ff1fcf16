"""`scripts/sandbox send`: a new lead at each call, the same one twice, or a file as it is."""

import json
import re
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from leads.domain.phone import read_phones
from sandbox.__main__ import app
from sandbox.page.render import page
from sandbox.send import KINDS, new_lead

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
def test_a_sample_is_posted(posted: list[bytes], what: str, calls: int) -> None:
    result = send(what)
    assert (result.exit_code, result.stdout) == (0, '200 {"status": "received"}\n' * calls)
    assert len(posted) == calls
    assert len(set(posted)) == 1


def test_each_call_makes_another_lead_with_a_usable_phone_or_without_one() -> None:
    leads = [new_lead(KINDS["happy"]) for _ in range(3)]
    assert len({lead["id"] for lead in leads}) == 3
    assert all(read_phones([lead["phone_number"]]).usable for lead in leads)
    assert not read_phones([new_lead(KINDS["no-phone"])["phone_number"]]).usable


def test_a_file_is_posted_as_it_is(posted: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"{ not json")
    assert send(str(path)).exit_code == 0
    assert posted == [b"{ not json"]


def test_the_url_comes_from_the_file_of_the_sandbox(posted: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(f"HASURA_URL=x\nWEBHOOK_URL={URL}\n")
    assert send("happy", "--env-file", str(path), url="").exit_code == 0
    assert json.loads(posted[0])["type"] == "records"


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
