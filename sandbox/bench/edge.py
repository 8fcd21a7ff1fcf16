"""`scripts/bench edge`: what the edge costs a signed delivery, and how fast it verifies.

Behind the edge stands a server that answers at once, so that the difference between going through the edge
and going straight to that server is the edge alone: TLS apart, everything a delivery meets in production.
"""

import asyncio
import hashlib
import hmac
import json
import re
import statistics
import time
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.bench.environment import SECRET, TOKEN, machine
from sandbox.bench.load import closed_loop, request_for
from sandbox.bench.sink import serving
from sandbox.edge.nginx import EdgeSettings, NginxEdge, missing_packages
from sandbox.processes import Processes

BODY = json.dumps({"id": "bench", "name": "Nguyễn Văn A", "note": "x" * 1400}, ensure_ascii=False).encode()
RECEIVED = {"status": "received", "event_id": 1, "error_code": None}
VERIFICATIONS = 100_000
VERIFY = """
location = /verify {
    client_body_buffer_size 272k;
    content_by_lua_block {
        local verify = require "pancake.verify"
        ngx.req.read_body()
        local connection = {
            allowlist_mode = "enforce", ranges = require("pancake.network").ranges { "127.0.0.0/8" },
            signature_mode = "enforce", webhook_secrets = { "current", "SECRET" }, header_secrets = {},
        }
        local request = {
            ip = ngx.var.remote_addr, body = ngx.req.get_body_data(),
            header = function(name) return ngx.var["http_" .. name:gsub("-", "_")] end,
        }
        ngx.update_time()
        local started, passed = ngx.now(), 0
        for _ = 1, COUNT do
            passed = passed + (verify.check(connection, request, ngx.time()) == nil and 1 or 0)
        end
        ngx.update_time()
        ngx.say(passed / (ngx.now() - started))
    }
}
"""


async def _record(request: Request) -> Response:
    await request.body()
    return JSONResponse({"pancake_ingest_record": RECEIVED})


async def _policy(request: Request) -> Response:
    token = {"sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "expires_at": None}
    connection = {
        "id": "bench", "token_sha256": [token], "signature_mode": "enforce", "allowlist_mode": "enforce",
        "allowed_ip_ranges": ["127.0.0.0/8"], "webhook_secrets": ["Y3VycmVudA==", "cHJldmlvdXM="],
    }  # fmt: skip
    return JSONResponse({"version": "1", "connections": [connection]})


def behind() -> Starlette:
    """Hasura's endpoint and the handlers' policy, answering at once."""
    return Starlette(
        routes=[Route("/api/rest/pancake/record", _record, methods=["POST"]), Route("/edge/policy", _policy)]
    )


def edge(
    rounds: Annotated[int, typer.Option(help="Rounds; the median difference counts.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds per measurement.", min=0.5)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One client, signed bodies of 1.5 KB: added p50 in ms; and verifications per second on one worker."""
    if missing := missing_packages():
        typer.echo(f"The real edge is needed: apt-get install {' '.join(missing)}", err=True)
        raise typer.Exit(2)
    with serving(behind) as url, Processes() as processes:
        standing = _start(processes, url)
        result = {**_added(standing, url, rounds, seconds), "verify_rps": _verify_rate(standing)}
        result["refused"] = _refused(standing)
    result["machine"] = machine()
    if as_json:
        typer.echo(json.dumps(result))
    else:
        Console().print(result)
    if result["refused"]:
        typer.echo(
            "The edge refused signed deliveries: these figures are not those of taking them.", err=True
        )
        raise typer.Exit(1)


def _start(processes: Processes, url: str) -> NginxEdge:
    verify = VERIFY.replace("SECRET", SECRET).replace("COUNT", str(VERIFICATIONS))
    settings = EdgeSettings(url, url, "jwt", SECRET, workers=1, site={"ops-extra.conf": verify})
    standing = NginxEdge(processes, settings)
    standing.limits_file.write_text('{"rate": 1000000, "burst": 1000000}')
    standing.limits_file.chmod(0o644)
    standing.bring_up()
    return standing


def _signature(secret: str) -> dict[str, str]:
    timestamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + BODY, hashlib.sha256).hexdigest()
    return {"X-Pancake-Timestamp": timestamp, "X-Pancake-Signature": digest}


def _signed(url: str) -> Iterator[bytes]:
    while True:
        yield request_for(url, _signature("current"), BODY)


def _added(standing: NginxEdge, url: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Through the edge and straight, in turn."""
    through = f"{standing.url}/api/pancake/record/{TOKEN}"
    straight = f"{url}/api/rest/pancake/record"
    added, p50s = [], []
    for _ in range(rounds):
        ours = asyncio.run(closed_loop(through, _signed(through), 1, seconds))
        bare = asyncio.run(closed_loop(straight, _signed(straight), 1, seconds))
        p50s.append((ours.percentile(0.5), bare.percentile(0.5)))
        added.append(p50s[-1][0] - p50s[-1][1])
    return {
        "added_p50_ms": round(statistics.median(added), 3),
        "through_p50_ms": round(statistics.median(each[0] for each in p50s), 3),
        "straight_p50_ms": round(statistics.median(each[1] for each in p50s), 3),
    }


def _refused(standing: NginxEdge) -> dict[str, int]:
    """Deliveries through the edge that were anything but received, by outcome and HTTP status."""
    text = httpx.get(f"{standing.ops_url}/metrics", timeout=5).text
    counted = re.findall(r'^pancake_webhook_requests_total\{hop="edge",(.+)\} (\d+)$', text, re.MULTILINE)
    return {labels: int(count) for labels, count in counted if labels != 'status="received",code="200"'}


def _verify_rate(standing: NginxEdge) -> int:
    """The verify step alone, in a loop inside one worker: allowlist, timestamp, HMAC under two secrets."""
    headers = _signature(SECRET)
    response = httpx.post(f"{standing.ops_url}/verify", content=BODY, headers=headers, timeout=120)
    return round(float(response.raise_for_status().text))
