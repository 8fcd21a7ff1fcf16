"""The configuration as it ships: TLS outside, operators on an address of their own, secrets demanded."""

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
from tests.edge.certificates import certificate
from tests.edge.conftest import TOKEN, Stage, eventually
from tests.edge.test_spool import away, post_many

ZEROS = "A" * 43 + "="
"""32 bytes in base64."""


def containers_site(port: int, ops_port: int, home: str) -> dict[str, str]:
    """container/*.conf, what the image has in site/, likewise, after container/start has written its own."""
    start, _, _ = (DEPLOY / "container" / "start").read_text().partition("exec nginx")
    start = start.replace("/var/lib/pancake-edge/tmp", f"{home}/scratch").replace(
        "/var/lib/pancake-edge", f"{home}/scratch"
    )
    environment = {"PATH": os.environ["PATH"], "EDGE_REAL_IP_FROM": "127.0.0.1 10.0.0.0/8"}
    subprocess.run(["sh", "-c", start], env=environment, check=True, timeout=10)
    for name in ("resolver.conf", "real_ip.conf"):
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
    """site/*.conf as shipped, with only places and ports replaced."""
    replacements = [
        (r"^user .*;$", ""), (r"443 ssl", f"{port} ssl"), (r"listen \[::\].*;", ""),
        (r"127\.0\.0\.1:9145", f"127.0.0.1:{ops_port}"),
        (r"/etc/letsencrypt/live/pancake-edge", str(certificates)),
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


def break_tls_amid_a_request(port: int, context: ssl.SSLContext) -> None:
    """Head of a delivery, then a record that is none: nginx has something to say, and knows the token."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:

        def until_done(step: Callable[[], object]) -> object:
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    return step()
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))

        until_done(talk.do_handshake)
        head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n"
        talk.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
        until_done(talk.read)  # 100 Continue: the body is being waited for
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"j" * 32)
        while plain.recv(65536):
            pass


def start_with(stage: Stage, files: dict[str, str], ops_port: int) -> None:
    """Start the edge with these files in site/ instead of the sandbox's."""
    site = stage.edge.directory / "site"
    for path in site.iterdir():
        path.unlink()
    for name, text in files.items():
        (site / name).write_text(text)
    stage.edge.ops_port = ops_port
    stage.edge.bring_up()


def test_the_containers_files_serve_http(nginx: Callable[..., Stage]) -> None:
    """As in the image, where TLS ends before the container: at a balancer, which says who the sender is."""
    ops_port = free_port()
    stage = nginx(started=False)
    start_with(stage, containers_site(stage.edge.port, ops_port, str(stage.edge.directory)), ops_port)
    with stage.sender() as sender:
        assert sender.post(TOKEN, headers={"X-Forwarded-For": "203.0.113.7"}).status == "received"
    assert stage.hasura.deliveries[0].source_ip == "203.0.113.7"


def test_the_shipped_files_serve_https(nginx: Callable[..., Stage], processes: Processes) -> None:
    """TLS 1.2 and 1.3, no old protocol, HTTP/1.1 whatever is offered, no server version in the headers."""
    certificates = processes.directory("pancake-certificates-")
    certificate(certificates)
    ops_port = free_port()
    stage = nginx(started=False)
    port = stage.edge.port
    start_with(stage, shipped_site(port, ops_port, str(stage.edge.directory), certificates), ops_port)
    context = ssl.create_default_context(cafile=str(certificates / "fullchain.pem"))
    context.check_hostname = False
    with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{port}") as client:
        response = client.post(f"/api/pancake/record/{TOKEN}", content=b"{}")
        assert (response.status_code, response.json()["status"]) == (200, "received")
        assert response.headers["server"] == "nginx"
        assert client.get("/metrics").status_code == 404
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as talk:
        assert talk.selected_alpn_protocol() == "http/1.1"
    break_tls_amid_a_request(port, context)
    eventually(lambda: stage.edge.access_log().count("bad_request") == 1)
    assert TOKEN not in stage.edge.errors()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=old) as client:
        client.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("EDGE_SECRET", "", "set EDGE_SECRET"),
        ("HASURA_EDGE_TOKEN", "", "set HASURA_EDGE_TOKEN"),
        ("EDGE_STATE_KEYS", "k1:c2hvcnQ=", "key 1 must read id:base64 of 32 bytes"),
        ("EDGE_STATE_KEYS", f"k1:{ZEROS},k2={ZEROS}", "key 2 must read id:base64 of 32 bytes"),
        ("HASURA_URL", "hasura:8080", "must be an http or https URL"),
        ("HANDLERS_URL", "http://handlers.example:8080", "must be https or a loopback address"),
        ("HANDLERS_URL", "http://127.example:8080", "must be https or a loopback address"),
        ("EDGE_SKIP_SECONDS", "soon", "must be a number"),
        ("EDGE_DRAIN_PER_SECOND", "0", "must be a number from 1 to 10000, not '0'"),
        ("EDGE_SPOOL_MAX_FILES", "-1", "must be a number from 1 to"),
        ("EDGE_PATH_TIMEOUT_MS", "nan", "must be a number from 50 to 1600"),
    ],
)
def test_a_wrong_environment_is_refused_at_start_with_a_sentence(
    nginx: Callable[..., Stage], variable: str, value: str, says: str
) -> None:
    """Not at the first delivery."""
    stage = nginx(started=False, **{variable: value})
    stage.edge.start()
    with pytest.raises(NotReady, match=says):
        stage.edge.wait_ready()


@pytest.mark.parametrize("module", ["delivery", "ops", "disk", "files"])
def test_a_reload_with_a_broken_program_is_refused(nginx: Callable[..., Stage], module: str) -> None:
    """A bad upgrade: the workers that run go on, nobody hears a 500."""
    stage = nginx(started=False)
    stage.edge.bring_up()
    (stage.edge.directory / "lua" / "pancake" / f"{module}.lua").write_text("this is not Lua")
    workers = stage.edge.workers()
    stage.edge.reload()
    eventually(lambda: "init_by_lua error" in stage.edge.errors())
    with stage.sender() as sender:
        assert [sender.post(TOKEN).status for _ in range(20)] == ["received"] * 20
    assert stage.edge.workers() == workers
    away(stage)
    with ThreadPoolExecutor(30) as threads:
        statuses = threads.map(lambda number: post_many(stage, [b"%d" % number]), range(60))
        assert list(statuses) == [["spooled"]] * 60


def test_health_says_whether_deliveries_could_be_kept(nginx: Callable[..., Stage]) -> None:
    """Tried before one needs it, once a minute and at each start of a worker."""
    stage = nginx()

    def writable() -> object:
        return httpx.get(f"{stage.edge.ops_url}/healthz").json().get("spool_writable")

    eventually(lambda: writable() is True)
    assert stage.metric("pancake_edge_spool_writable{}") == 1
    (stage.edge.state / "unknown").chmod(0o500)
    try:
        stage.edge.reload()
        eventually(lambda: writable() is False)
        assert stage.metric("pancake_edge_spool_writable{}") == 0
    finally:
        (stage.edge.state / "unknown").chmod(0o700)
    assert "unknown takes nothing" in stage.edge.errors()


def test_counters_that_alerts_look_at_are_there_before_the_first_event(stage: Stage) -> None:
    """A counter that appears with its first event has no increase: nobody would hear of it."""
    text = httpx.get(f"{stage.edge.ops_url}/metrics").text
    rules = (DEPLOY.parent / "prometheus" / "edge.rules.yml").read_text()
    counted = set(re.findall(r"increase\((\w+)", rules))
    assert counted
    for name in counted:
        assert re.search(rf"^{name}\{{.*\}} 0$", text, re.MULTILINE), name


def test_the_defaults_are_those_that_the_page_names() -> None:
    """What an operator who sets nothing gets is what the table of the edge's README says."""
    source = (DEPLOY / "lua" / "pancake" / "settings.lua").read_text()
    page = (DEPLOY / "README.md").read_text()
    pairs = re.findall(r'number\("(\w+)", ([\d *]+), \S+, \S+\)', source)
    assert len(pairs) == 9
    for name, value in pairs:
        number = math.prod(int(factor) for factor in value.split("*"))
        said = f"{number // 2**30} GiB" if number % 2**30 == 0 else str(number)
        assert re.search(rf"`{name}`( \|[^|]*?)? (default )?{said}\b", page), name


def test_health_and_metrics_are_for_operators_only(stage: Stage) -> None:
    """On the internal listener, in Prometheus' text format; nothing else is there."""
    health = httpx.get(f"{stage.edge.ops_url}/healthz").json()
    assert (health["status"], health["policy_connections"], health["spool_files"]) == ("ok", 1, 0)
    response = httpx.get(f"{stage.edge.ops_url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in response.text.splitlines():
        assert re.match(r"^(# (HELP|TYPE) pancake_\w+ .+|pancake_\w+\{[^{}]*\} -?[0-9.e+]+)$", line), line
    assert httpx.get(f"{stage.edge.ops_url}/anything").status_code == 404
    assert httpx.get(f"{stage.edge.url}/healthz").status_code == 404


def test_health_says_the_version_also_after_a_reload(stage: Stage) -> None:
    """What is deployed can be asked."""

    def version() -> object:
        return httpx.get(f"{stage.edge.ops_url}/healthz").json()["version"]

    assert f'version = "{version()}"' in (DEPLOY.parents[1] / "pyproject.toml").read_text()
    (stage.edge.directory / "lua" / "pancake" / "version.lua").write_text('return "9.9.9"')
    stage.edge.reload()
    eventually(lambda: version() == "9.9.9")
