"""`scripts/bench edge`: what the edge adds.

The upstream answers at once. The difference between a request through the edge and a request straight to the
upstream is therefore the edge: everything that a delivery passes in production except TLS.
"""

import asyncio
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proofs.bench.environment import (
    SECRET,
    TOKEN,
    AsJson,
    describe_machine,
    print_result,
    serve_in_process,
    upstream_of_edge,
)
from proofs.sender import closed_loop, request_for
from sandbox.edge import EdgeSettings, NginxEdge, require_edge_packages
from sandbox.processes import Processes
from sandbox.serving import scrape

BODY = json.dumps({"id": "bench", "name": "Nguyễn Văn A", "note": "x" * 1400}, ensure_ascii=False).encode()
RECEIVED = {"status": "received", "event_id": 1, "error_code": None}
VERIFICATIONS_PER_RUN = 100_000
VERIFY_SITE = Path(__file__).with_name("verify.conf").read_text("utf-8")


async def _record(request: Request) -> Response:
    await request.body()
    return JSONResponse({"pancake_ingest_record": RECEIVED})


def create_upstream() -> Starlette:
    return upstream_of_edge(
        _record, signature_mode="enforce", allowlist_mode="enforce", allowed_ip_ranges=["127.0.0.0/8"],
        webhook_secrets=["Y3VycmVudA==", "cHJldmlvdXM="],
    )  # fmt: skip


def edge(
    rounds: Annotated[int, typer.Option(help="Rounds; the result is the median difference.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=0.5)] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure the added p50 of one client with signed bodies of 1.5 KB, and the verifications per second."""
    require_edge_packages()
    with serve_in_process(create_upstream) as url, Processes() as processes:
        nginx = _start(processes, url)
        result = {**_added_latency(nginx, url, rounds, seconds), "verify_rps": _verify_rate(nginx)}
        result["refused"] = _refused(nginx)
    result["machine"] = describe_machine()
    print_result(result, as_json)
    if result["refused"]:
        typer.echo("The edge refused signed deliveries, so the figures are not valid.", err=True)
        raise typer.Exit(1)


def _start(processes: Processes, url: str) -> NginxEdge:
    verify = VERIFY_SITE.replace("SECRET", SECRET).replace("COUNT", str(VERIFICATIONS_PER_RUN))
    settings = EdgeSettings(url, url, "jwt", SECRET, workers=1, site={"ops-extra.conf": verify})
    nginx = NginxEdge(processes, settings)
    nginx.limits_file.write_text('{"rate": 1000000, "burst": 1000000}')
    nginx.limits_file.chmod(0o644)
    nginx.bring_up()
    return nginx


def _signature(secret: str) -> dict[str, str]:
    timestamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    return {"X-Pancake-Timestamp": timestamp, "X-Pancake-Signature": digest}


def _signed(url: str) -> Iterator[bytes]:
    while True:
        yield request_for(url, _signature("current"), BODY)


def _added_latency(nginx: NginxEdge, url: str, rounds: int, seconds: float) -> dict[str, Any]:
    through = f"{nginx.url}/api/pancake/record/{TOKEN}"
    straight = f"{url}/api/rest/pancake/record"
    added, p50s = [], []
    for _ in range(rounds):
        through_edge = asyncio.run(closed_loop(through, _signed(through), 1, seconds))
        direct = asyncio.run(closed_loop(straight, _signed(straight), 1, seconds))
        p50s.append((through_edge.percentile(0.5), direct.percentile(0.5)))
        added.append(p50s[-1][0] - p50s[-1][1])
    return {
        "added_p50_ms": round(statistics.median(added), 3),
        "through_p50_ms": round(statistics.median(each[0] for each in p50s), 3),
        "straight_p50_ms": round(statistics.median(each[1] for each in p50s), 3),
    }


def _refused(nginx: NginxEdge) -> dict[str, int]:
    """Count the deliveries through the edge that were not received, by outcome and HTTP status."""
    counted = {
        f"{each.labels['code']} {each.labels['status']}": int(each.value)
        for each in scrape(nginx.ops_url)
        if each.name == "pancake_webhook_requests_total" and each.labels["hop"] == "edge"
    }
    return {outcome: number for outcome, number in counted.items() if number and outcome != "200 received"}


def _verify_rate(nginx: NginxEdge) -> int:
    """Measure the verify step in a loop in one worker: allowlist, timestamp, HMAC with two secrets."""
    headers = _signature(SECRET)
    response = httpx.post(f"{nginx.ops_url}/verify", content=BODY, headers=headers, timeout=120)
    return round(float(response.raise_for_status().text))
