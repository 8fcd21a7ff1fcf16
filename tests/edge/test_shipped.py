"""The configuration as shipped: TLS, internal listener, required environment, unit, versions of packages."""

import ctypes
import ctypes.util
import grp
import os
import re
import shutil
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from sandbox.edge import DEPLOY
from sandbox.postgres.server import free_port
from sandbox.processes import NotReady, Processes
from sandbox.serving import find_value, scrape
from tests.support.edge.harness import TOKEN, Edge, EdgeHarness, write_certificate
from tests.support.programs import run, write_program
from tests.support.promql import EDGE, selectors, selectors_of_rules, without_series
from tests.support.waiting import eventually

ZERO_KEY = "A" * 43 + "="
"""32 zero bytes in base64."""
NGINX, LUA = "1.26.3-3+deb13u11", "1:0.10.28-2"
"""The oldest versions that are accepted."""
UNIT = DEPLOY / "pancake-edge.service"
ALLOW = 0x7FFF0000
REFUSE_WITH_EPERM = 0x00050001
UNKNOWN_CALL = -1
"""What libseccomp answers for a system call of another architecture or of a newer kernel."""
NEEDS_SYSTEMD = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed: apt-get install systemd",
)
NEEDS_SECCOMP = pytest.mark.skipif(
    ctypes.util.find_library("seccomp") is None
    or shutil.which("setpriv") is None
    or "--seccomp-filter" not in run("setpriv", "--help").stdout,
    reason="no libseccomp, or setpriv is older than util-linux 2.41 (Debian 13): apt-get install libseccomp2",
)


def start_with_site(harness: EdgeHarness, folder: str, certificates: Path | None = None) -> None:
    """Start the edge with the files of a folder of deploy/, with other paths and ports."""
    port, ops_port, home = harness.edge.port, free_port(), f"{harness.edge.directory}/scratch"
    replacements = {
        r"listen 8443": f"listen 127.0.0.1:{port}", r"listen 9145": f"listen 127.0.0.1:{ops_port}",
        r"443 ssl": f"{port} ssl",
        r"listen \[::\].*;": "", r"127\.0\.0\.1:9145": f"127.0.0.1:{ops_port}",
        r"/dev/stderr": f"{home}/error.log", r"/dev/stdout": f"{home}/access.json",
        r"/etc/pancake-edge/tls": str(certificates), r"/run/pancake-edge/nginx.pid": f"{home}/nginx.pid",
        r"/var/lib/pancake-edge(/tmp)?|/var/(log|cache)/pancake-edge": home,
    }  # fmt: skip
    site = harness.edge.directory / "site"
    for path in site.iterdir():
        path.unlink()
    for path in (DEPLOY / folder).glob("*.conf"):
        text = path.read_text()
        for pattern, replacement in replacements.items():
            text = re.sub(pattern, replacement, text)
        (site / path.name).write_text(text)
    harness.edge.ops_port = ops_port
    harness.bring_up()


def break_tls_during_a_request(port: int, context: ssl.SSLContext) -> None:
    """Send the head of a delivery, then an invalid TLS record: an error while nginx knows the URI."""
    head = f"POST /api/pancake/record/{TOKEN} HTTP/1.1\r\nHost: e\r\nContent-Length: 99\r\n"
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        connection.dup() as plain,
        context.wrap_socket(connection) as tls,
    ):
        tls.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert tls.recv(65536).startswith(b"HTTP/1.1 100 ")  # nginx waits for the body
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"j" * 32)
        while plain.recv(65536):
            pass


def test_the_files_of_the_container_serve_http(own: Edge) -> None:
    """TLS ends at a load balancer, which names the sender in X-Forwarded-For."""
    harness = own()
    # The first part of container/start writes what it knows from the environment.
    start, _, _ = (DEPLOY / "container" / "start").read_text().partition("/etc/pancake-edge/")
    scratch = harness.edge.directory / "scratch"
    start = re.sub("/var/lib/pancake-edge(/tmp)?", str(scratch), start)
    settings = {"EDGE_REAL_IP_FROM": "127.0.0.1 10.0.0.0/8", "EDGE_WORKERS": "2"}
    run("sh", "-c", start, env={"PATH": os.environ["PATH"], **settings})
    for name in ("resolver.conf", "real_ip.conf", "workers.conf"):
        (scratch / name).chmod(0o644)
    start_with_site(harness, "container")
    assert harness.post(headers={"X-Forwarded-For": "203.0.113.7"}) == "received"
    assert harness.hasura.deliveries[0].source_ip == "203.0.113.7"
    assert len(harness.edge.workers()) == 2  # EDGE_WORKERS


@pytest.mark.parametrize("workers", ["0", "65", "2; user root", "two", "-1"])
def test_the_container_refuses_a_wrong_number_of_workers(tmp_path: Path, workers: str) -> None:
    start = (DEPLOY / "container" / "start").read_text().replace("/var/lib/pancake-edge", str(tmp_path))
    environment = {"PATH": os.environ["PATH"], "EDGE_WORKERS": workers}
    ended = run("sh", "-c", start, env=environment, code=1)
    assert ended.stderr == "EDGE_WORKERS is not auto or a number from 1 to 64\n"


def test_the_shipped_files_serve_https(own: Edge, processes: Processes) -> None:
    """TLS 1.2 and 1.3 only, HTTP/1.1 even if h2 is offered, no server version in the headers."""
    certificates = processes.directory("pancake-certificates-")
    write_certificate(certificates)
    harness = own(EDGE_TLS_DIR=str(certificates), HASURA_EDGE_TOKEN="e30.eyJleHAiOjE3OTk5OTk5OTl9.c2lnbmVk")
    start_with_site(harness, "site", certificates)
    port = harness.edge.port
    ends = x509.load_pem_x509_certificate((certificates / "fullchain.pem").read_bytes()).not_valid_after_utc
    found = scrape(harness.edge.ops_url)
    at = find_value(found, "pancake_edge_certificate_ends_timestamp_seconds")
    assert at == pytest.approx(ends.timestamp(), abs=2)
    assert find_value(found, "pancake_edge_token_ends_timestamp_seconds") == 1_799_999_999
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
    eventually(lambda: str(harness.access_log()).count("bad_request") == 1)
    assert TOKEN not in harness.edge.errors()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=old) as client:
        client.get(f"https://127.0.0.1:{port}/")


WRONG_SETTINGS = [
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
]


def test_a_wrong_environment_stops_the_start_with_a_message(own: Edge, subtests: pytest.Subtests) -> None:
    for variable, value, message in WRONG_SETTINGS:
        with subtests.test(f"{variable}={value}"):
            harness = own(**{variable: value})
            harness.edge.start()
            with pytest.raises(NotReady, match=message):
                harness.edge.wait_ready()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hasura.example/", ""), ("http://hasura:8080", ""), ("http://localhost:8080", ""),
        ("http://hasura.diva.svc.cluster.local", ""), ("http://[fd00::1]:8080", ""),
        ("http://hasura.example", "hasura"),
    ],
)  # fmt: skip
def test_tls_a_private_host_and_what_is_allowed_start(own: Edge, url: str, allowed: str) -> None:
    own(HASURA_URL=url, ALLOW_CLEAR_TEXT=allowed).bring_up()


def test_a_reload_with_a_broken_program_is_refused(own: Edge, subtests: pytest.Subtests) -> None:
    """After a failed upgrade the running workers continue: they serve and store deliveries."""
    harness = own().bring_up()
    harness.set_limits()  # both workers have run their timers then, and with them disk.prepare
    workers = harness.edge.workers()
    for module in ("delivery", "request", "policy_document", "ops", "disk", "files"):
        with subtests.test(module):
            path = harness.edge.directory / "lua" / "pancake" / f"{module}.lua"
            program = path.read_text()
            path.write_text("this is not Lua")
            harness.edge.reload()
            eventually(lambda: "init_by_lua error" in harness.edge.errors())
            assert harness.post_many([b"x"] * 20) == ["received"] * 20
            assert harness.edge.workers() == workers
            harness.stop_upstreams()
            with ThreadPoolExecutor(30) as threads:
                statuses = threads.map(lambda number: harness.post(b"%d" % number), range(60))
                assert list(statuses) == ["spooled"] * 60
            path.write_text(program)
            harness.reset()


def test_every_selector_of_a_rule_finds_a_series_before_its_first_event(harness: EdgeHarness) -> None:
    """An alert on a misspelt metric would never fire, and increase() misses a counter's first event."""
    found = scrape(harness.edge.ops_url)
    wanted = list(selectors_of_rules(EDGE, selectors))
    assert len(wanted) > 15
    # Only an edge that ends TLS has a certificate: test_the_shipped_files_serve_https.
    assert [name for name, _ in without_series(wanted, found)] == ["PancakeCertificateEnds"]
    lua = {
        name: (DEPLOY / "lua" / "pancake" / f"{name}.lua").read_text()
        for name in ("answers", "delivery", "log")
    }
    errors = {*re.findall(r'\b([45]\d\d), "(\w+)"', lua["answers"] + lua["delivery"])}
    errors |= {*re.findall(r'\[([45]\d\d)\] = "(\w+)"', lua["log"])}
    assert len(errors) > 10
    requests = [each.labels for each in found if each.name == "pancake_webhook_requests_total"]
    assert errors <= {(labels["code"], labels["status"]) for labels in requests}


def test_health_and_metrics_are_on_the_internal_listener_only(harness: EdgeHarness) -> None:
    health = harness.edge.health()
    assert (health["status"], health["policy_connections"], health["spool_files"]) == ("ok", 1, 0)
    assert f'return "{health["version"]}"' in (DEPLOY / "lua" / "pancake" / "version.lua").read_text()
    response = httpx.get(f"{harness.edge.ops_url}/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in response.text.splitlines():
        assert re.match(r"^(# (HELP|TYPE) pancake_\w+ .+|pancake_\w+\{[^{}]*\} -?[0-9.e+]+)$", line), line
    assert httpx.get(f"{harness.edge.ops_url}/anything").status_code == 404
    assert httpx.get(f"{harness.edge.url}/healthz").status_code == 404


def allowed_calls(unit: str) -> set[str]:
    """Return the system calls that the unit's SystemCallFilter lines allow, as systemd reads them."""
    allowed: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.+)$", unit, re.MULTILINE):
        calls = {call for name in value.removeprefix("~").split() for call in _expand(name)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def write_filter(path: Path, calls: Sequence[str]) -> None:
    """Write a filter for the kernel that allows these calls and answers EPERM to all others."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE_WITH_EPERM)))
    try:
        for call in calls:
            number = library.seccomp_syscall_resolve_name(call.encode())
            if number != UNKNOWN_CALL:
                assert library.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0) == 0, call
        with path.open("wb") as file:
            assert library.seccomp_export_bpf(context, file.fileno()) == 0
    finally:
        library.seccomp_release(context)
    path.chmod(0o644)


def _expand(name: str) -> set[str]:
    """Return the calls of a set of systemd's, with those of the sets in it; a call is a set of itself."""
    if not name.startswith("@"):
        return {name}
    listed = run("systemd-analyze", "--no-pager", "syscall-filter", name).stdout
    members = [line.strip() for line in listed.splitlines()[1:]]
    return {call for member in members if member and not member.startswith("#") for call in _expand(member)}


@NEEDS_SYSTEMD
def test_the_unit_leaves_little_open() -> None:
    report = run("systemd-analyze", "--no-pager", "security", "--offline=true", UNIT).stdout
    (exposure,) = re.findall(r"Overall exposure level for pancake-edge.service: ([\d.]+)", report)
    assert float(exposure) <= 3, report


def test_the_unit_has_a_user_that_no_other_service_has() -> None:
    unit = UNIT.read_text()
    assert "\nUser=pancake-edge\nGroup=pancake-edge\n" in unit
    assert "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit


@pytest.mark.parametrize("is_active", [True, False], ids=["running", "before the first start"])
def test_the_copied_certificate_is_for_the_group_only_and_a_running_edge_reloads(
    tmp_path: Path, is_active: bool
) -> None:
    write_certificate(tmp_path)
    group = grp.getgrgid(os.getgid()).gr_name
    script = (DEPLOY / "copy-certificate").read_text().replace("-g pancake-edge", f"-g {group}")
    lines = f'echo "$1" >>{tmp_path}/called\n[ "$1" = reload ] || {str(is_active).lower()}'
    write_program(tmp_path / "systemctl", lines)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "RENEWED_LINEAGE": str(tmp_path),
        "EDGE_TLS_DIR": str(tmp_path / "tls"),
    }  # fmt: skip
    run("sh", "-c", script, env=environment)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()} == {
        "fullchain.pem": 0o640, "privkey.pem": 0o640,
    }  # fmt: skip
    assert (tmp_path / "tls" / "privkey.pem").read_bytes() == (tmp_path / "privkey.pem").read_bytes()
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o750
    called = (tmp_path / "called").read_text().split()
    assert called == (["is-active", "reload"] if is_active else ["is-active"])


def test_installing_again_changes_no_mode_and_no_file_of_the_operator(tmp_path: Path) -> None:
    """The block of the README, twice, below another root and without a package, a user and a service."""
    root, programs = tmp_path / "root", tmp_path / "bin"
    for folder in ("etc/systemd/system", "etc/logrotate.d", "var/lib"):
        (root / folder).mkdir(parents=True)
    for name in ("apt-get", "certbot", "systemctl", "useradd"):
        write_program(programs / name, "")
    (block,) = re.findall(
        r"^```\n(apt-get install nginx.*?)^```", (DEPLOY / "README.md").read_text(), re.S | re.M
    )
    script = re.sub(r"(?<= |>)/(etc|var)/", rf"{root}/\1/", block).replace(
        " -o pancake-edge -g pancake-edge", ""
    )

    def install() -> dict[str, tuple[int, str]]:
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "DESTDIR": str(root)}
        run("bash", "-ec", script, cwd=DEPLOY.parents[1], env=environment, umask=0o022)
        files = [path for path in root.rglob("*") if path.is_file() and ".former" not in str(path)]
        return {
            str(path.relative_to(root)): (path.stat().st_mode & 0o777, path.read_text()) for path in files
        }

    installed = install()
    assert {"etc/pancake-edge/lua/pancake/delivery.lua", "etc/systemd/system/pancake-edge.service"} <= set(
        installed
    )
    (environment,) = re.findall(r"^EnvironmentFile=/(.+)$", UNIT.read_text(), re.MULTILINE)
    own = {
        environment: (0o600, "EDGE_STATE_KEYS=k1:x\n"), "etc/pancake-edge/tls/privkey.pem": (0o640, "key"),
        "etc/pancake-edge/site/http.conf": (0o644, "resolver 10.0.0.2;"),
    }  # fmt: skip
    for name, (mode, text) in own.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(mode)
    assert install() == installed | own


@NEEDS_SYSTEMD
@NEEDS_SECCOMP
def test_the_edge_stores_drains_and_reloads_under_the_filter_of_system_calls(own: Edge) -> None:
    harness = own()
    calls = allowed_calls(UNIT.read_text())
    assert {"pwrite64", "fsync", "accept4"} <= calls
    assert not {"mount", "setuid", "chroot", "ptrace", "bpf"} & calls
    # setpriv calls capset after it has loaded the filter.
    write_filter(harness.edge.directory / "calls.bpf", sorted(calls | {"capset"}))
    harness.edge.run_under(
        ["setpriv", "--no-new-privs", "--seccomp-filter", str(harness.edge.directory / "calls.bpf")]
    )
    harness.bring_up()
    assert harness.post(b"live") == "received"
    harness.stop_upstreams()
    assert harness.post_many([b"%d" % number for number in range(20)]) == ["spooled"] * 20
    harness.edge.kill_worker()
    harness.edge.reload()
    harness.start_upstreams()
    # The worker that exits and its successor may both hand a delivery over.
    eventually(lambda: len(set(harness.bodies)) == 21 and not harness.edge.held(), seconds=20)
    assert harness.post(b"after") == "received"
    assert "not permitted" not in harness.edge.errors()


OLD = "1.26.3-3+deb13u10"


@pytest.mark.parametrize(
    ("nginx", "lua", "allowed", "code", "said"),
    [
        *((f"installed {new}", LUA, "", 0, "") for new in (NGINX, "1.26.3-3+deb13u12", "1.28.1-2")),
        (f"installed {OLD}", LUA, "", 1, f"nginx {OLD} is older than {NGINX}"),
        ("installed 1.22.1-9+deb12u4", LUA, "", 1, f"nginx 1.22.1-9+deb12u4 is older than {NGINX}"),
        (f"installed {NGINX}", "1:0.10.23-1", "", 1, "libnginx-mod-http-lua 1:0.10.23-1 is older than"),
        (f"installed {NGINX}", "", "", 1, "libnginx-mod-http-lua is not installed"),
        (f"config-files {NGINX}", LUA, "", 1, "nginx is not installed"),
        (f"installed {OLD}", LUA, "yes", 1, f"nginx {OLD} is older than {NGINX}"),
        # An edge that does not start costs more deliveries than an old one: an operator may allow it.
        (f"installed {OLD}", LUA, "allow", 0, f"nginx {OLD} is older than {NGINX}"),
    ],
)
def test_an_older_package_stops_the_start_by_its_name(
    tmp_path: Path, nginx: str, lua: str, allowed: str, code: int, said: str
) -> None:
    """On a machine whose dpkg-query finds these packages. `allowed`: EDGE_OLD_PACKAGES."""
    found = f"nginx) echo '{nginx}' ;;\n"
    found += f"libnginx-mod-http-lua) echo 'installed {lua}' ;;\n" if lua else ""
    lines = f'for name; do :; done\ncase "$name" in\n{found}*) exit 1 ;;\nesac'
    write_program(tmp_path / "dpkg-query", lines)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "EDGE_OLD_PACKAGES": allowed}
    done = run(DEPLOY / "check-versions", env=environment, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert bool(done.stderr) == bool(said)
    assert code == 0 or "apt-get install" in done.stderr


def test_unit_and_container_check_before_nginx_starts() -> None:
    for name in ("pancake-edge.service", "container/start"):
        text = (DEPLOY / name).read_text()
        assert "/etc/pancake-edge/check-versions\n" in text.partition("nginx -")[0], name
    assert "COPY deploy/nginx/check-versions /etc/pancake-edge/\n" in (DEPLOY / "Dockerfile").read_text()
