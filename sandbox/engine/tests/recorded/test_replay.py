"""The stand-in answers what a genuine engine answered, but for the differences that README.md accepts."""

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.support.process import CANARIES, Engines
from tests.support.recordings import RECORDED, Recording, Replay, Result, all_recordings, prepare

RECORDINGS = all_recordings()
ACCEPTED = set(re.findall(r"^\| (\w+) \|", (RECORDED / "README.md").read_text("utf-8"), re.MULTILINE))
COUNTED = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
MAX_BYTES = 350_000


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_the_stand_in_answers_as_recorded(recording: Recording, engines: Engines) -> None:
    prepare(engines.database_url, recording)
    process, url = engines.start(
        PG_DATABASE_URL=engines.database_url,
        HASURA_GRAPHQL_JWT_SECRET=json.dumps({"type": "HS256", "key": CANARIES["the JWT key"]}),
        HASURA_GRAPHQL_SANDBOX_SCHEDULED_FETCH_INTERVAL="200",
        NOTIFICATIONS_URL=engines.receiver.url,
        HANDLER_SECRET="handler-secret",
    )
    with httpx.Client(timeout=60, trust_env=False) as client:
        result = Replay(recording, url, engines.receiver, client).run()
    assert engines.stop(process) == 0
    check(recording, result)


def check(recording: Recording, result: Result) -> None:
    """Raise AssertionError for an unaccepted difference, an accepted one that is gone, or a wrong count."""
    lines = [(line.get("name") or f"{line['delivered']} {line['number']}", line) for line in every(recording)]
    accepted = {name: line["differs"] for name, line in lines if "differs" in line}
    problems = [
        f"{name}\n    " + "\n    ".join(map(str, found))
        for name, found in result.differing.items()
        if name not in accepted
    ]
    problems += [
        f"{name}: agrees, so take `differs` out" for name in accepted if name not in result.differing
    ]
    problems += [f"{reason}: not in README.md" for reason in set(accepted.values()) - ACCEPTED]
    assert not problems, "\n".join(problems)
    row = f"| `{recording.name}` | {len(recording.requests)} | {len(recording.deliveries)}"
    row += f" | {len(result.wording)} | {len(accepted)} |"
    assert row in COUNTED, f"the README of the stand-in should say\n{row}\n" + "\n".join(result.wording)


def every(recording: Recording) -> list[dict[str, object]]:
    return [*recording.requests, *recording.deliveries]


def test_names_are_unique() -> None:
    for recording in RECORDINGS:
        names = [request["name"] for request in recording.requests]
        assert len(names) == len(set(names)), recording.name


def test_recordings_stay_small() -> None:
    sizes = [path.stat().st_size for path in RECORDED.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(sizes) < MAX_BYTES
