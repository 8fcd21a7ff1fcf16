"""Play the requests of tests/recorded against an engine. Its README.md describes the form of the files."""

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg

from tests.support.placeholders import Difference, Placeholders, parse
from tests.support.process import SECRET
from tests.support.receiver import Answer, Receiver

Json = Any
RECORDED = Path(__file__).parents[1] / "recorded"
TOKENS = json.loads((RECORDED / "tokens.json").read_text("utf-8"))
KEYS = {"": (TOKENS["key"], "HS256"), "otherkey": (TOKENS["other_key"], "HS256")}
KEYS |= {"none": ("", "none"), "hs512": (TOKENS["key"] * 2, "HS512")}
TOKEN = re.compile(r"<jwt:(?:(\w+):)?(\w+)>")
WAIT_SECONDS = 20.0
# What the genuine engine sends with each call of a webhook.
SENT_ALWAYS = {
    "Content-Type": "application/json",
    "User-Agent": "hasura-graphql-engine/<server-version>",
}
# What the stand-in may leave out or send besides: differences of kind C.
UNCOMPARED = {"accept", "connection", "accept-encoding", "host", "content-length"}
TRACING = "x-b3-"
"""Beginning of the headers of a trace, which were not recorded: their values are new each time."""


@dataclass(frozen=True)
class Recording:
    """A file of tests/recorded: its first line, its requests and its deliveries."""

    name: str
    head: Json
    requests: list[Json]
    deliveries: list[Json]


@dataclass
class Result:
    """What a replay found: differences by the name of the request or delivery."""

    differing: dict[str, list[Difference]] = field(default_factory=dict)
    wording: list[str] = field(default_factory=list)

    def add(self, name: str, found: list[Difference]) -> None:
        """Count differences of wording, keep all others."""
        if found and all(each.is_wording for each in found):
            self.wording.append(name)
        elif found:
            self.differing[name] = found


def read(path: Path) -> Recording:
    first, *texts = [text for text in path.read_text("utf-8").split("\n") if text]
    head = json.loads(first)
    values = {f'"<value:{name}>"': json.dumps(value) for name, value in head.get("values", {}).items()}
    lines = [_line(text, values) for text in texts]
    requests = [line for line in lines if "delivered" not in line]
    return Recording(path.stem, head, requests, [line for line in lines if "delivered" in line])


def _line(text: str, values: dict[str, str]) -> Json:
    """Parse one line; only what is compared with an answer keeps the digits of its numbers."""
    for name, value in values.items():
        text = text.replace(name, value)
    line, exact = json.loads(text), parse(text)
    return line | {key: exact[key] for key in ("answer",) if key in line}


def all_recordings() -> list[Recording]:
    return [read(path) for path in sorted(RECORDED.glob("*.jsonl"))]


def prepare(database_url: str, recording: Recording) -> None:
    """Bring an empty database into the state in which the recording began."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name in recording.head["sql"]:
            connection.execute((RECORDED / "setup" / name).read_bytes())


class Replay:
    """One run of a recording against an engine at `url`."""

    def __init__(self, recording: Recording, url: str, sink: Receiver, client: httpx.Client) -> None:
        self._recording = recording
        self._url = url
        self._sink = sink
        self._client = client
        version = client.get(f"{url}/v1/version").json()["version"]
        known = {"<sink>": sink.url, "<admin-secret>": SECRET}
        known |= {f"<text:{name}>": text for name, text in recording.head.get("texts", {}).items()}
        self._placeholders = Placeholders({**known, "<server-version>": version})
        self.result = Result()
        for path, answers in recording.head.get("sink", {}).items():
            sink.answers(path, *map(_answer, answers))

    def run(self) -> Result:
        """Send every request in order, then look at what came to the webhooks."""
        if "metadata" in self._recording.head:
            self._load(self._recording.head["metadata"])
        for request in self._recording.requests:
            self.result.add(request["name"], self._play(request))
        for delivery in self._recording.deliveries:
            name = f"{delivery['delivered']} {delivery['number']}"
            self.result.add(name, self._delivered(delivery))
        return self.result

    def _load(self, name: str) -> None:
        metadata = json.loads((RECORDED / "setup" / name).read_bytes())
        metadata["actions"] += self._placeholders.fill(self._recording.head.get("actions", []))
        args = {"allow_inconsistent_metadata": True, "metadata": metadata}
        answer = self._client.post(
            f"{self._url}/v1/metadata",
            json={"type": "replace_metadata", "version": 2, "args": args},
            headers={"x-hasura-admin-secret": SECRET},
        )
        assert answer.json()["is_consistent"], answer.text

    def _play(self, request: Json) -> list[Difference]:
        if "sink" in request:
            self._sink.answers(request["sink"]["path"], _answer(request["sink"]["answer"]))
        for path, number in request.get("after", []):
            if not self._arrived(path, number):
                return [Difference("deliveries", f"{number} to {path}", len(self._sink.received(path)))]
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = self._once(request)
            if not found or "wait" not in request or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _arrived(self, path: str, number: int) -> bool:
        try:
            self._sink.wait_for(path, number, WAIT_SECONDS)
        except AssertionError:
            return False
        return True

    def _once(self, request: Json) -> list[Difference]:
        default = {"x-hasura-admin-secret": "<admin-secret>"}
        headers = {"Content-Type": "application/json", **request.get("headers", default)}
        headers = {name: TOKEN.sub(_token, self._placeholders.fill(value)) for name, value in headers.items()}
        if "raw_body" in request:
            content = self._placeholders.fill(request["raw_body"])
        else:
            content = json.dumps(self._placeholders.fill(request["body"])) if "body" in request else ""
        response = self._client.request(
            request.get("method", "POST"), self._url + path_of(request), content=content, headers=headers
        )
        found = self._placeholders.compare(request.get("status", 200), response.status_code)
        if "answer_text" in request:
            return found + self._placeholders.compare(request["answer_text"], response.text)
        try:
            answer = parse(response.content)
        except ValueError:
            answer = response.text
        any_order = bool(request.get("any_order"))
        return found + self._placeholders.compare(request["answer"], answer, any_order=any_order)

    def _delivered(self, delivery: Json) -> list[Difference]:
        path, number = delivery["delivered"], delivery["number"]
        if not self._arrived(path, number):
            return [Difference("deliveries", number, len(self._sink.received(path)))]
        got = self._sink.received(path)[number - 1]
        wanted = {k: v for k, v in {**SENT_ALWAYS, **delivery.get("headers", {})}.items() if v is not None}
        found = self._placeholders.compare(_compared(wanted), _compared(got.headers))
        found += self._placeholders.compare(delivery.get("method", "POST"), got.method)
        return found + self._placeholders.compare(delivery["body"], got.body)


def path_of(request: Json) -> str:
    """The path of a request; without one, the body tells the endpoint."""
    if "path" in request:
        return str(request["path"])
    return "/v1/metadata" if "type" in request["body"] else "/v1/graphql"


def _compared(headers: dict[str, str]) -> dict[str, str]:
    given = {name.lower(): value for name, value in headers.items()}
    return {k: v for k, v in given.items() if k not in UNCOMPARED and not k.startswith(TRACING)}


def _answer(planned: Json) -> Answer:
    text = planned.get("text")
    return Answer(
        planned.get("status", 200),
        text.encode() if text is not None else planned.get("body", {}),
        planned.get("headers", {}),
        float(planned.get("delay", 0)),
    )


def _token(found: "re.Match[str]") -> str:
    key, algorithm = KEYS[found[1] or ""]
    return jwt.encode(TOKENS["claims"][found[2]], key, algorithm)
