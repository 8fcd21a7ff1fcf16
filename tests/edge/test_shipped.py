"""The configuration as it ships: TLS outside, operators on an address of their own, secrets demanded."""

import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from sandbox.cluster import free_port
from sandbox.edge.nginx import DEPLOY
from sandbox.processes import Processes
from sandbox.stack.services import NotReady
from tests.edge.certificates import certificate
from tests.edge.conftest import TOKEN, Stage


def containers_site(port: int, ops_port: int, home: str) -> dict[str, str]:
    """container/*.conf, what the image has in site/, likewise."""
    Path(f"{home}/scratch/resolver.conf").write_text("resolver 127.0.0.11 ipv6=off valid=10s;\n")
    Path(f"{home}/scratch/resolver.conf").chmod(0o644)
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
        (r"/var/lib/pancake-edge/tmp", f"{home}/scratch/body"),
        (r"/run/pancake-edge.pid", f"{home}/scratch/nginx.pid"),
    ]  # fmt: skip
    site = {}
    for path in sorted((DEPLOY / "site").glob("*.conf")):
        text = path.read_text()
        for pattern, replacement in replacements:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        site[path.name] = text
    site["http.conf"] += "".join(
        f"{kind}_temp_path {home}/scratch/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    return site


def start_with(stage: Stage, files: dict[str, str], ops_port: int) -> None:
    """Start the edge with these files in site/ instead of the sandbox's."""
    site = stage.edge.directory / "site"
    for path in site.iterdir():
        path.unlink()
    for name, text in files.items():
        (site / name).write_text(text)
    stage.edge.ops_port = ops_port
    stage.edge.start()
    stage.edge.wait_ready()
    stage.edge.wait_policy()


def test_the_containers_files_serve_http(nginx: Callable[..., Stage]) -> None:
    """As in the image, where TLS ends before the container."""
    ops_port = free_port()
    stage = nginx(started=False)
    start_with(stage, containers_site(stage.edge.port, ops_port, str(stage.edge.directory)), ops_port)
    with stage.sender() as sender:
        assert sender.post(TOKEN).status == "received"


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
        ("EDGE_STATE_KEYS", "k1:c2hvcnQ=", "must be 32 bytes"),
        ("HASURA_URL", "hasura:8080", "must be an http or https URL"),
        ("HANDLERS_URL", "http://handlers.example:8080", "must be https or a loopback address"),
        ("EDGE_SKIP_SECONDS", "soon", "must be a number"),
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


def test_health_says_the_version(nginx: Callable[..., Stage]) -> None:
    """What is deployed can be asked."""
    stage = nginx(EDGE_VERSION="1.2.3+abc")
    assert httpx.get(f"{stage.edge.ops_url}/healthz").json()["version"] == "1.2.3+abc"
