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
from typer.testing import CliRunner
from werkzeug import Request, Response

from leads.serve import SHUTDOWN_SECONDS
from ops.failures import ExitCode
from ops.output import wrapped
from ops.setup.answers import Way, gather
from ops.setup.env_files import EnvFiles
from ops.setup.values import START, SWITCH, finish_command, value_files
from proofs.images import release
from proofs.images.containers import IMAGES, explain, until_started
from proofs.images.installation import Compose, Installation, limits_of
from proofs.images.pods import Pods
from proofs.images.systemd import Systemd
from sandbox.postgres.server import free_port
from sandbox.processes import Processes
from tests.support.fake_services import FakeServer
from tests.support.programs import run
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
    shutil.copy(FILE, tmp_path)
    given = {
        "way": "compose", "images": "registry.example.com/pancake", "public_url": "https://crm.example.com",
        "handlers_url": "http://10.0.0.5:8080",
    }  # fmt: skip
    files = EnvFiles(tmp_path / "pancake", {})
    for file in value_files(gather(given, None, files), files.folder):
        file.write()
    for name in (*OURS, "hasura", "engine"):
        (tmp_path / f"pancake/{name}.env").write_text(f"NAME={name}\nURL=postgresql://a:b%40c@d/e?f=1&g=2\n")
    profiles = [word for profile in ("ops", "engine", "tls") for word in ("--profile", profile)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["docker-compose", *profiles, "config", "--format", "json"]
    done = run(*command, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    services = json.loads(done.stdout)["services"]
    assert services.keys() == SERVICES.keys()
    for name in OURS:
        found = services[name]["environment"]
        assert (found["NAME"], found["URL"]) == (name, "postgresql://a:b%40c@d/e?f=1&g=2")
        assert services[name]["image"] == f"registry.example.com/pancake/{name}:{VERSION}"
    assert services["pod"]["ports"][1]["host_ip"] == "10.0.0.5"
    assert services["proxy"]["environment"]["PUBLIC_HOST"] == "crm.example.com"
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


def test_a_unit_without_the_file_of_setup_fails_once_and_names_it() -> None:
    """Without its EnvironmentFile alone systemd starts it again and again, and names no file."""
    for name in ("systemd/pancake-handlers", "systemd/pancake-backfill", "nginx/pancake-edge"):
        head, _, service = (ROOT / f"deploy/{name}.service").read_text().partition("[Service]")
        (file,) = re.findall(r"(?m)^EnvironmentFile=(/etc/pancake/\w+\.env)$", service)
        assert f"AssertPathExists={file}" in head.splitlines(), name


def test_an_image_has_what_was_built_last() -> None:
    """Of a stage that RUN binds buildah asks no digest: it takes the layer of another wheel again."""
    text = (ROOT / "Dockerfile").read_text()
    assert "--mount=type=bind" not in text
    assert re.search(r"^FROM \S+ AS python\nENV .*\bPYTHONSAFEPATH=1\b", text, re.M), "in every image"
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


@pytest.mark.parametrize(
    ("way", "name", "page", "headings"),
    [
        (Compose, Way.COMPOSE, "docs/production.md", ("Docker Compose", "Back")),
        (Systemd, Way.SYSTEMD, "docs/production.md", ("systemd", "Back")),
        (Pods, Way.KUBERNETES, "deploy/kubernetes/README.md", ("Install", "Back")),
    ],
)
def test_the_commands_of_the_pages_are_those_that_were_run(
    way: type[Installation], name: Way, page: str, headings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """scripts/images answers by a file, without a terminal, and has the images that it built.

    The first command prints the second and the third.
    """
    first = commands_of("docs/install.md", "The four commands")
    assert [each.partition(" --")[0] for each in first[:4]] == [
        "leads setup", "docker compose up", "leads setup", "leads switch kill off"
    ]  # fmt: skip
    shown = [*first, *commands_of(page, *headings)]
    folder = Path("/etc/pancake" if name is Way.SYSTEMD else "pancake")
    answers = gather({"way": name, "project": "hasura"}, None, EnvFiles(folder, {}))
    lines = f"Then run: {finish_command(answers, folder)}".splitlines()
    monkeypatch.setenv("COLUMNS", "40")
    commands = [line.partition(": ")[2] for line in lines]
    assert [each for each, line in zip(commands, lines, strict=True) if each not in wrapped(line)] == [], (
        "it is copied in one piece"
    )
    run = [
        way.finish,
        way.switch,
        way.back[0],
        START[name],
        SWITCH[name],
        *" && ".join(commands).split(" && "),
    ]
    if way is not Pods:  # which podman runs by other commands than kubectl's
        run += [way.setup, way.start_services]
    if issubclass(way, Systemd):
        run += way.install.split(" && ")
        assert way.packages.partition("-y -qq ")[2].removesuffix(" >/dev/null") in "\n".join(shown)
    assert [each for each in run if as_shown(each) not in shown] == []


def test_the_pod_gets_a_project_that_lies_elsewhere_and_gives_it_back(tmp_path: Path) -> None:
    project = f"{tmp_path}/hasura"
    answers = gather({"way": "kubernetes", "project": project}, None, EnvFiles(tmp_path, {}))
    there, back = finish_command(answers, Path("pancake")).splitlines()
    assert f"cp {project} ops-0:/data && " in there
    assert there.endswith("leads setup --folder pancake --project hasura --finish")
    assert back.endswith(f"cp ops-0:/data/hasura {project}")


@pytest.mark.parametrize(
    ("user", "is_ok"), [("10001:10001", True), ("0:0", False), ("root", False), ("0", False), ("", False)]
)
def test_a_container_of_root_is_not_restricted(
    user: str, is_ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = {"Memory": 1 << 28, "ReadonlyRootfs": True}
    found = [{"HostConfig": host, "Config": {"User": user}, "RestartCount": 0}]
    monkeypatch.setattr("proofs.images.installation.run", lambda *_: json.dumps(found))
    assert limits_of("handlers") == (f"user {user}, 256 MB, 0 restarts", is_ok)


def test_a_program_that_runc_did_not_start_in_a_container_is_started_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that ran, or that a limit kept from its start, is not run again, however it ended."""
    reset = "waiting for init preliminary setup: read init-p: connection reset by peer"
    of_limit = "error executing setns process: fork/exec /proc/self/exe: resource temporarily unavailable"
    not_started, limited = (
        (255, f"Error: OCI runtime error: runc: exec failed: unable to start container process: {why}")
        for why in (reset, of_limit)
    )
    refused, well = (1, "refused"), (0, "well")
    for ends, starts in (
        ([not_started, well], 2), ([not_started] * 4, 3), ([not_started, refused], 2), ([refused, well], 1),
        ([limited, well], 1),
    ):  # fmt: skip
        runs = iter([subprocess.CompletedProcess((), code, None, text) for code, text in ends])
        assert until_started(runs.__next__).stderr == ends[starts - 1][1]
        assert len(list(runs)) == len(ends) - starts
        assert capsys.readouterr().err.count("runc did not start a program") == starts - 1


def test_a_failure_of_a_proof_says_the_command_and_what_it_printed() -> None:
    command = ["podman", "cp", "a"]
    for error, said in (
        (
            subprocess.CalledProcessError(125, command, b"", b"no such volume\n"),
            "exit code 125\nno such volume",
        ),
        (subprocess.CalledProcessError(1, command, "refused\n", ""), "exit code 1\nrefused"),
        (subprocess.TimeoutExpired(command, 60, b"half"), "not done after 60 s\nhalf"),
    ):
        assert explain(error) == f"podman cp a failed: {said}"


def commands_of(page: str, *headings: str) -> list[str]:
    """Return the commands below these headings, in blocks and in text, in the form of `as_shown`."""
    parts = re.split(r"^## (.*)\n", (ROOT / page).read_text(), flags=re.M)[1:]
    text = "".join(dict(zip(parts[::2], parts[1::2], strict=True))[heading] for heading in headings)
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [as_shown(each) for each in [*lines, *re.findall(r"`([^`\n]+)`", text)]]


def as_shown(command: str) -> str:
    """Return a command without what differs between a person and the proof."""
    for pattern, instead in (
        (r"\s+#.*| …| --reason .*", ""),
        (r" -it| --no-TTY| --answers \S+| --way \w+| --yes| --folder pancake", ""),
        (r"\S*pancake-diva/ops:\S+", "OPS"),
        (r"kubectl -n pancake-diva exec ops-0 -- ", ""),
    ):
        command = re.sub(pattern, instead, command)
    return command.strip()


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
    done = run(ROOT / "scripts/release", "--to", tmp_path / "dist", "--tag", "v9.9.9", code=2)
    assert not (tmp_path / "dist").exists()
    assert done.stderr.endswith(f"The tag is v9.9.9, and the version of pyproject.toml is {VERSION}.\n")


def test_a_build_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def publish(*_: object) -> None:
        raise subprocess.TimeoutExpired(["buildah", "push"], 600)

    monkeypatch.setattr(release, "run", lambda *_: "")
    monkeypatch.setattr(release, "_publish", publish)
    ended = CliRunner().invoke(release.app, ["--to", str(tmp_path / "dist")])
    assert (ended.exit_code, ended.stderr) == (1, "buildah push failed: not done after 600 s\n")


def test_the_workflow_takes_the_target_from_a_variable_and_each_one_pins_its_actions() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert job["env"]["PANCAKE_IMAGES"] == "${{ vars.PANCAKE_IMAGES }}"
    pinned = re.compile(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
    text = "\n".join(path.read_text() for path in (ROOT / ".github/workflows").iterdir())
    assert [line for line in re.findall(r"uses: (.+)", text) if not pinned.fullmatch(line)] == []
