"""compose.production.yaml, the proxy in front of the edge, and what a release has: tried without Docker."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from werkzeug import Request, Response

from leads.serve import SHUTDOWN_SECONDS
from ops.failures import ExitCode
from proofs.images import release
from proofs.images.containers import IMAGES
from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from tests.support.fake_services import FakeServer
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
FILE = ROOT / "compose.production.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
OURS = ("handlers", "edge", "ops")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
WEBHOOK = "/api/pancake/record/token"


@pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="not installed: apt-get install docker-compose"
)
def test_the_files_of_setup_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "pancake").mkdir()
    for name in (*OURS, "hasura", "engine"):
        (tmp_path / f"pancake/{name}.env").write_text(f"NAME={name}\nURL=postgresql://a:b%40c@d/e?f=1&g=2\n")
    command = ["docker-compose", "--file", str(FILE), "--project-directory", str(tmp_path)]
    command += [word for profile in ("ops", "engine", "tls") for word in ("--profile", profile)]
    done = subprocess.run(
        [*command, "config", "--format", "json"], env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert services.keys() == SERVICES.keys()
    for name in OURS:
        found = services[name]["environment"]
        assert (found["NAME"], found["URL"]) == (name, "postgresql://a:b%40c@d/e?f=1&g=2")
        assert services[name]["image"] == f"pancake-diva/{name}:{VERSION}"
    assert services["hasura"]["environment"]["NAME"] == "engine", "the lines of setup win"


def test_a_service_is_started_again_limited_and_logs_little() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["pids_limit"] > 0, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        restart = {"ops": "no", "backfill": "on-failure"}
        assert service["restart"] == restart.get(name, "unless-stopped"), name
        assert "build" not in service, name
        assert int(service["stop_grace_period"].removesuffix("s")) > (SHUTDOWN_SECONDS if name in OURS else 0)
    for name in ("handlers", "edge", "hasura"):
        test = SERVICES[name]["healthcheck"]["test"]
        assert (test[0], [word for word in test if " " in word]) == ("CMD", []), "podman splits words"


def test_the_backfill_is_not_started_again_where_the_configuration_is_wrong() -> None:
    unit = (ROOT / "deploy/systemd/pancake-backfill.service").read_text().splitlines()
    restart = [line for line in unit if line.startswith("Restart")]
    assert restart == [
        "Restart=on-failure", f"RestartPreventExitStatus={ExitCode.USAGE:d}", "RestartSec=60"
    ]  # fmt: skip


def test_an_image_has_what_was_built_last() -> None:
    """Of a stage that RUN binds buildah asks no digest: it takes the layer of another wheel again."""
    text = (ROOT / "Dockerfile").read_text()
    assert "--mount=type=bind" not in text
    assert len(re.findall(r"^COPY --from=(?:project|server) /project /$", text, re.M)) == 2


def test_only_the_proxy_is_reached_from_outside() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert name == "proxy" or re.match(r"\$\{\w+:-127\.0\.0\.1:\d+\}:", port), (name, port)
    published = [port.rpartition(":")[2] for port in SERVICES["pod"]["ports"]]
    assert published == ["8443", "8080"], "neither 9145 nor 9146"


def test_the_operators_command_has_the_state_of_the_edge() -> None:
    (state,) = SERVICES["edge"]["volumes"]
    assert {state, "./pancake:/data/pancake"} <= set(SERVICES["ops"]["volumes"])
    assert set(SERVICES["backfill"]["volumes"]) < set(SERVICES["ops"]["volumes"])
    assert {SERVICES[name]["network_mode"] for name in OURS} == {"service:pod"}


@pytest.mark.skipif(shutil.which("caddy") is None, reason="not installed: apt-get install caddy")
def test_the_proxy_lets_through_the_webhook_only_and_names_the_sender(
    processes: Processes, tmp_path: Path
) -> None:
    port, seen = free_port(), []

    def answer(request: Request) -> Response:
        seen.append((request.path, request.headers["X-Forwarded-For"], len(request.data)))
        return Response("{}")

    with FakeServer() as edge:
        edge.expect_request(re.compile(".*")).respond_with_handler(answer)
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "EDGE": f"127.0.0.1:{edge.port}",
            "PUBLIC_HOST": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        command = ["caddy", "run", "--config", str(ROOT / release.PROXY), "--adapter", "caddyfile"]
        with (tmp_path / "caddy.log").open("w") as output:
            processes.start(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

        def post(path: str, size: int = 1500) -> int:
            forged = {"X-Forwarded-For": "203.0.113.9"}
            return httpx.post(
                f"http://127.0.0.1:{port}{path}", content=b"x" * size, headers=forged
            ).status_code

        def is_open() -> bool:
            try:
                return post("/") > 0
            except httpx.TransportError:
                return False

        eventually(is_open)
        assert (post(WEBHOOK), post(WEBHOOK, 262_144)) == (200, 200)
        assert [post(path) for path in ("/healthz", "/metrics", "/api/pancake/other")] == [404] * 3
        assert post(WEBHOOK, 262_145) in (413, 502)
    assert post(WEBHOOK) == 502, "the edge is away"
    assert seen[:2] == [(WEBHOOK, "127.0.0.1", 1500), (WEBHOOK, "127.0.0.1", 262_144)]
    assert len(seen) == 2
    log = (tmp_path / "caddy.log").read_text()
    assert "connection refused" in log
    assert "token" not in log


def test_the_archive_of_a_release_names_each_image_by_its_digest(tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    names = {name: f"registry.example.com/pancake/{name}:{VERSION}@{digest}" for name in IMAGES}
    release.write_archive(tmp_path / "compose.tar.gz", names)
    with tarfile.open(tmp_path / "compose.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    text = (tmp_path / "pancake/compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {name: services[name]["image"] for name in OURS} == names
    mounted = services["proxy"]["volumes"][0].partition(":")[0]
    assert (tmp_path / "pancake" / mounted).read_text() == (ROOT / release.PROXY).read_text()
    assert FILE.name not in text
    assert "COMPOSE_FILE=compose.yaml\n" in (tmp_path / "pancake" / release.UNIT).read_text()


def test_a_tag_of_another_version_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/release"), "--to", str(tmp_path / "dist"), "--tag", "v9.9.9"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, (tmp_path / "dist").exists()) == (2, False)
    assert done.stderr.endswith(f"The tag is v9.9.9, and the version of pyproject.toml is {VERSION}.\n")


def test_the_workflow_pins_its_actions_and_takes_the_target_from_a_variable() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    workflow = yaml.safe_load(text)
    (job,) = workflow["jobs"].values()
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert job["env"]["PANCAKE_IMAGES"] == "${{ vars.PANCAKE_IMAGES }}"
    pinned = re.compile(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
    assert [line for line in re.findall(r"uses: (.+)", text) if not pinned.fullmatch(line)] == []
