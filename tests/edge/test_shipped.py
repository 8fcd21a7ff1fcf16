"""The configuration as shipped: TLS, an internal listener for operators, required environment variables."""

import contextlib
import math
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sandbox.edge.nginx import DEPLOY
from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from sandbox.stack.services import NotReady
from tests.support.edge.certificates import write_certificate
from tests.support.edge.harness import TOKEN, UNLIMITED, EdgeHarness
from tests.support.promql import selectors_of_ranges
from tests.support.promql_metrics import EDGE
from tests.support.scrapes import samples_of, selectors_of_rules, without_series
from tests.support.waiting import eventually

ZERO_KEY = "A" * 43 + "="
"""32 zero bytes in base64."""


def container_site(port: int, ops_port: int, home: str) -> dict[str, str]:
    """Run container/start, then return container/*.conf with other paths and ports."""
    start, _, _ = (DEPLOY / "container" / "start").read_text().partition("/etc/pancake-edge/")
    start = start.replace("/var/lib/pancake-edge/tmp", f"{home}/scratch").replace(
        "/var/lib/pancake-edge", f"{home}/scratch"
    )
    settings = {"EDGE_REAL_IP_FROM": "127.0.0.1 10.0.0.0/8", "EDGE_WORKERS": "2"}
    subprocess.run(["sh", "-c", start], env={"PATH": os.environ["PATH"], **settings}, check=True, timeout=10)
    for name in ("resolver.conf", "real_ip.conf", "workers.conf"):
        Path(f"{home}/scratch/{name}").chmod(0o644)
    replacements = {
        "listen 8443": f"listen 127.0.0.1:{port}", "listen 9145": f"listen 127.0.0.1:{ops_port}",
        "/dev/stderr": f"{home}/scratch/error.log", "/dev/stdout": f"{home}/scratch/access.json",
        "/var/lib/pancake-edge/tmp": f"{home}/scratch", "/var/lib/pancake-edge": f"{home}/scratch",
    }  # fmt: skip
    site = {}
    for path in sorted((DEPLOY / "container").glob("*.conf")):
        text = path.read_text()
        for shipped, replacement in replacements.items():
            text = text.replace(shipped, replacement)
        site[path.name] = text
    return site


def shipped_site(port: int, ops_port: int, home: str, certificates: Path) -> dict[str, str]:
    """Return site/*.conf with other paths and ports."""
    replacements = [
        (r"443 ssl", f"{port} ssl"), (r"listen \[::\].*;", ""),
        (r"127\.0\.0\.1:9145", f"127.0.0.1:{ops_port}"),
        (r"/etc/pancake-edge/tls", str(certificates)),
        (r"/var/log/pancake-edge", f"{home}/scratch"),
        (r"/var/cache/pancake-edge", f"{home}/scratch"),
        (r"/run/pancake-edge/nginx.pid", f"{home}/scratch/nginx.pid"),
    ]  # fmt: skip
    site = {}
    for path in sorted((DEPLOY / "site").glob("*.conf")):
        text = path.read_text()
        for pattern, replacement in replacements:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        site[path.name] = text
    return site


def break_tls_during_a_request(port: int, context: ssl.SSLContext) -> None:
    """Send the head of a delivery, then an invalid TLS record: an error while nginx knows the URI."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:

        def until_done(step: Callable[[], object]) -> object:
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    return step()
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))

        until_done(tls.do_handshake)
        head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n"
        tls.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
        until_done(tls.read)  # 100 Continue: nginx waits for the body
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"j" * 32)
        while plain.recv(65536):
            pass


def start_with(harness: EdgeHarness, files: dict[str, str], ops_port: int) -> None:
    """Start the edge with other files in site/."""
    site = harness.edge.directory / "site"
    for path in site.iterdir():
        path.unlink()
    for name, text in files.items():
        (site / name).write_text(text)
    harness.edge.ops_port = ops_port
    harness.edge.bring_up()


def test_the_files_of_the_container_serve_http(start_harness: Callable[..., EdgeHarness]) -> None:
    """TLS ends at a load balancer, which names the sender in X-Forwarded-For."""
    ops_port = free_port()
    harness = start_harness(started=False)
    start_with(harness, container_site(harness.edge.port, ops_port, str(harness.edge.directory)), ops_port)
    with harness.sender() as sender:
        assert sender.post(TOKEN, headers={"X-Forwarded-For": "203.0.113.7"}).status == "received"
    assert harness.hasura.deliveries[0].source_ip == "203.0.113.7"
    assert len(harness.edge.workers()) == 2  # EDGE_WORKERS


@pytest.mark.parametrize("workers", ["0", "65", "2; user root", "two", "-1"])
def test_the_container_refuses_a_wrong_number_of_workers(tmp_path: Path, workers: str) -> None:
    start = (DEPLOY / "container" / "start").read_text().replace("/var/lib/pancake-edge", str(tmp_path))
    environment = {"PATH": os.environ["PATH"], "EDGE_WORKERS": workers}
    ended = subprocess.run(["sh", "-c", start], env=environment, capture_output=True, text=True, timeout=10)
    assert (ended.returncode, ended.stderr) == (1, "EDGE_WORKERS is not auto or a number from 1 to 64\n")


def test_the_shipped_files_serve_https(
    start_harness: Callable[..., EdgeHarness], processes: Processes
) -> None:
    """TLS 1.2 and 1.3 only, HTTP/1.1 even if h2 is offered, no server version in the headers."""
    certificates = processes.directory("pancake-certificates-")
    write_certificate(certificates)
    ops_port = free_port()
    harness = start_harness(started=False)
    port = harness.edge.port
    start_with(harness, shipped_site(port, ops_port, str(harness.edge.directory), certificates), ops_port)
    context = ssl.create_default_context(cafile=str(certificates / "fullchain.pem"))
    context.check_hostname = False
    with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{port}") as client:
        response = client.post(f"/api/pancake/record/{TOKEN}", content=b"{}")
        assert (response.status_code, response.json()["status"]) == (200, "received")
        assert response.headers["server"] == "nginx"
        assert client.get("/metrics").status_code == 404
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"
    break_tls_during_a_request(port, context)
    eventually(lambda: harness.edge.access_log().count("bad_request") == 1)
    assert TOKEN not in harness.edge.errors()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=old) as client:
        client.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("EDGE_SECRET", "", "set EDGE_SECRET"),
        ("EDGE_SECRET", "x" * 31, "EDGE_SECRET is shorter than 32 characters"),
        ("HASURA_EDGE_TOKEN", "", "set HASURA_EDGE_TOKEN"),
        ("EDGE_STATE_KEYS", "k1:c2hvcnQ=", "key 1 must read id:base64 of 32 bytes"),
        ("EDGE_STATE_KEYS", f"k1:{ZERO_KEY},k2={ZERO_KEY}", "key 2 must read id:base64 of 32 bytes"),
        ("HASURA_URL", "hasura:8080", "must be an http or https URL"),
        ("HASURA_URL", "http://hasura.example:8080", "HASURA_URL is http to a public host"),
        ("HASURA_URL", "http://203.0.113.7", "HASURA_URL is http to a public host"),
        ("HASURA_URL", "http://[2001:db8::1]:8080", "HASURA_URL is http to a public host"),
        ("ALLOW_CLEAR_TEXT", "all", "must be 'hasura' or empty, not 'all'"),
        ("HANDLERS_URL", "http://handlers.example:8080", "must be https or a loopback address"),
        ("HANDLERS_URL", "http://127.example:8080", "must be https or a loopback address"),
        ("EDGE_SKIP_SECONDS", "soon", "must be a number"),
        ("EDGE_DRAIN_PER_SECOND", "0", "must be a number from 1 to 10000, not '0'"),
        ("EDGE_SPOOL_MAX_FILES", "-1", "must be a number from 1 to"),
        ("EDGE_PATH_TIMEOUT_MS", "nan", "must be a number from 50 to 1600"),
    ],
)
def test_a_wrong_environment_stops_the_start_with_a_message(
    start_harness: Callable[..., EdgeHarness], variable: str, value: str, message: str
) -> None:
    harness = start_harness(started=False, **{variable: value})
    harness.edge.start()
    with pytest.raises(NotReady, match=message):
        harness.edge.wait_ready()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hasura.example", ""),
        ("http://hasura:8080", ""),
        ("http://hasura.diva.svc.cluster.local", ""),
        ("http://[fd00::1]:8080", ""),
        ("http://hasura.example", "hasura"),
    ],
)
def test_tls_a_private_host_and_what_is_allowed_start(
    start_harness: Callable[..., EdgeHarness], url: str, allowed: str
) -> None:
    start_harness(HASURA_URL=url, ALLOW_CLEAR_TEXT=allowed)


@pytest.mark.parametrize("module", ["delivery", "request", "policy_document", "ops", "disk", "files"])
def test_a_reload_with_a_broken_program_is_refused(
    start_harness: Callable[..., EdgeHarness], module: str
) -> None:
    """After a failed upgrade the running workers continue: they serve and store deliveries."""
    harness = start_harness(started=False)
    harness.edge.bring_up()
    # Both workers have run their timers then, and with them disk.prepare.
    harness.set_limits(rate=UNLIMITED - 1, burst=UNLIMITED)
    (harness.edge.directory / "lua" / "pancake" / f"{module}.lua").write_text("this is not Lua")
    workers = harness.edge.workers()
    harness.edge.reload()
    eventually(lambda: "init_by_lua error" in harness.edge.errors())
    with harness.sender() as sender:
        assert [sender.post(TOKEN).status for _ in range(20)] == ["received"] * 20
    assert harness.edge.workers() == workers
    harness.stop_upstreams()
    with ThreadPoolExecutor(30) as threads:
        statuses = threads.map(lambda number: harness.post_many([b"%d" % number]), range(60))
        assert list(statuses) == [["spooled"]] * 60


def test_health_reports_whether_the_folders_are_writable(start_harness: Callable[..., EdgeHarness]) -> None:
    """Tested once a minute and at each start of a worker."""
    harness = start_harness()

    def writable() -> object:
        return httpx.get(f"{harness.edge.ops_url}/healthz").json().get("spool_writable")

    eventually(lambda: writable() is True)
    assert harness.metric("pancake_edge_spool_writable{}") == 1
    (harness.edge.state / "unknown").chmod(0o500)
    try:
        harness.edge.reload()
        eventually(lambda: writable() is False)
        assert harness.metric("pancake_edge_spool_writable{}") == 0
    finally:
        (harness.edge.state / "unknown").chmod(0o700)
    assert "folder not writable: unknown" in harness.edge.errors()


def test_counters_of_alerts_exist_before_their_first_event(harness: EdgeHarness) -> None:
    """increase() does not see the first event of a counter that appears with it."""
    found = samples_of(httpx.get(f"{harness.edge.ops_url}/metrics").text)
    wanted = list(selectors_of_rules(EDGE, selectors_of_ranges))
    assert len(wanted) > 5
    assert without_series(wanted, found) == []
    lua = {
        name: (DEPLOY / "lua" / "pancake" / f"{name}.lua").read_text()
        for name in ("answers", "delivery", "log")
    }
    errors = {*re.findall(r'\b([45]\d\d), "(\w+)"', lua["answers"] + lua["delivery"])}
    errors |= {*re.findall(r'\[([45]\d\d)\] = "(\w+)"', lua["log"])}
    assert len(errors) > 10
    requests = found["pancake_webhook_requests_total"]
    assert errors <= {(labels["code"], labels["status"]) for labels in requests}


def test_the_readme_states_the_defaults() -> None:
    source = (DEPLOY / "lua" / "pancake" / "settings.lua").read_text()
    page = (DEPLOY / "README.md").read_text()
    pairs = re.findall(r'number\("(\w+)", ([\d *]+), \S+, \S+\)', source)
    assert len(pairs) == 9
    for name, value in pairs:
        number = math.prod(int(factor) for factor in value.split("*"))
        stated = f"{number // 2**30} GiB" if number % 2**30 == 0 else str(number)
        assert re.search(rf"`{name}`( \|[^|]*?)? (default )?{stated}\b", page), name


def test_health_and_metrics_are_on_the_internal_listener_only(harness: EdgeHarness) -> None:
    health = httpx.get(f"{harness.edge.ops_url}/healthz").json()
    assert (health["status"], health["policy_connections"], health["spool_files"]) == ("ok", 1, 0)
    response = httpx.get(f"{harness.edge.ops_url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in response.text.splitlines():
        assert re.match(r"^(# (HELP|TYPE) pancake_\w+ .+|pancake_\w+\{[^{}]*\} -?[0-9.e+]+)$", line), line
    assert httpx.get(f"{harness.edge.ops_url}/anything").status_code == 404
    assert httpx.get(f"{harness.edge.url}/healthz").status_code == 404


def test_health_reports_the_version_after_a_reload_too(harness: EdgeHarness) -> None:
    def version() -> object:
        return httpx.get(f"{harness.edge.ops_url}/healthz").json()["version"]

    assert f'version = "{version()}"' in (DEPLOY.parents[1] / "pyproject.toml").read_text()
    (harness.edge.directory / "lua" / "pancake" / "version.lua").write_text('return "9.9.9"')
    harness.edge.reload()
    eventually(lambda: version() == "9.9.9")
