"""compose.yaml and the Dockerfiles, checked without Docker: variables, settings, stages, versions."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from leads.adapters.settings import read_bind, read_settings
from leads.adapters.variables import VARIABLES
from leads.cli.serve import SHUTDOWN_SECONDS
from sandbox.__main__ import app
from sandbox.stack.hasura import LOG_TYPES, source_url

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EDGE_DOCKERFILE = (ROOT / "deploy" / "nginx" / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """The output of `scripts/sandbox secrets`, unquoted as Docker Compose does."""
    printed = CliRunner().invoke(app, ["secrets"]).stdout
    pairs = (line.partition("=") for line in printed.splitlines())
    return {name: value.strip("'") for name, _, value in pairs}


@pytest.fixture(scope="module")
def services(secrets: dict[str, str]) -> dict[str, Any]:
    """The services of compose.yaml with their variables replaced."""

    def filled(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        return secrets.get(name, rest if kind == ":-" else "")

    loaded = yaml.safe_load(COMPOSE)["services"]
    return dict(json.loads(VARIABLE.sub(lambda m: json.dumps(filled(m))[1:-1], json.dumps(loaded))))


def test_the_secrets_fill_every_variable(secrets: dict[str, str]) -> None:
    needed = {name for name, kind, _ in VARIABLE.findall(COMPOSE) if kind != ":-"}
    assert needed <= secrets.keys()
    assert all(secrets.values())


def test_the_handlers_accept_their_environment(services: dict[str, Any]) -> None:
    settings = read_settings(services["handlers"]["environment"])
    assert settings.hasura_url == "http://hasura:8080"


def test_the_engine_logs_no_inputs_of_actions_and_no_rows_and_ends_long_statements(
    services: dict[str, Any],
) -> None:
    engine = {
        name.removeprefix("HASURA_GRAPHQL_"): value
        for name, value in services["hasura"]["environment"].items()
    }
    assert (engine["DEV_MODE"], engine["ADMIN_INTERNAL_ERRORS"]) == ("false", "false")
    assert set(engine["ENABLED_LOG_TYPES"].split(",")) == {"startup", "webhook-log", "jwk-refresh-log"}
    assert engine["ENABLED_LOG_TYPES"] == LOG_TYPES
    assert services["hasura"]["environment"]["PG_DATABASE_URL"] == source_url(engine["DATABASE_URL"])
    page = (ROOT / "docs" / "runbook" / "install.md").read_text()
    assert f"| `HASURA_GRAPHQL_ENABLED_LOG_TYPES` | `{engine['ENABLED_LOG_TYPES']}` |" in page
    for what in ("EVENT_TRIGGER", "SCHEDULED_TRIGGER", "ACTION_HANDLER"):
        assert engine[f"REDACT_{what}_LOGS"] == "true"


def test_the_connecting_service_creates_the_logins_of_handlers_and_operators(
    services: dict[str, Any],
) -> None:
    given = services["connect"]["environment"]
    assert (
        f"//diva_handlers:{given['HANDLERS_PASSWORD']}@"
        in services["handlers"]["environment"]["DATABASE_URL"]
    )
    program = (ROOT / "sandbox/stack/connection.py").read_text()
    for who in ("handlers", "operators"):
        assert given[f"{who.upper()}_PASSWORD"]
        assert f'"diva_{who}": ({who.upper()}, os.environ["{who.upper()}_PASSWORD"])' in program
    assert "COPY deploy/postgres deploy/postgres" in stage("sandbox")


def test_the_engine_has_what_the_metadata_names(services: dict[str, Any]) -> None:
    text = "".join(
        path.read_text()
        for directory in ("hasura/metadata", "sandbox/diva/metadata")
        for path in (ROOT / directory).rglob("*.yaml")
    )
    named = set(re.findall(r"\{\{(\w+)\}\}|(?:value_from_env|from_env): (\w+)", text))
    assert {one or other for one, other in named} <= services["hasura"]["environment"].keys()
    assert json.loads(services["hasura"]["environment"]["HASURA_GRAPHQL_JWT_SECRET"])["type"] == "HS256"


def test_the_example_explains_every_variable_of_the_handlers() -> None:
    explained = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(explained) == len(set(explained))
    code = (ROOT / "leads/adapters/settings.py").read_text() + (ROOT / "app.py").read_text()
    read = set(re.findall(r"(?:required|number|secrets|get|_read)\(\"([A-Z_]+)\"|\$\{([A-Z_]+):-", code))
    previous = {f"{name}_SECRET_PREVIOUS{until}" for name in ("HANDLER", "EDGE") for until in ("", "_UNTIL")}
    assert ({one or other for one, other in read} - {"ROOT"}) | previous | VARIABLES.keys() <= set(explained)


def stage(name: str) -> str:
    """The instructions of one stage, without its FROM."""
    return re.split(rf"^FROM \S+ AS {name}$", DOCKERFILE, flags=re.MULTILINE)[1].partition("\nFROM ")[0]


def test_the_image_of_the_handlers_holds_production_code_only_and_serves_with_the_operators_command() -> None:
    """It adds nothing to the stage with the locked packages and the wheel, and is the last one."""
    instructions = stage("handlers")
    assert not re.search(r"^(COPY|ADD) ", instructions, re.MULTILINE)
    assert DOCKERFILE.endswith(instructions)
    assert re.findall(r"^FROM project AS (\w+)$", DOCKERFILE, re.MULTILINE) == ["sandbox", "handlers"]
    assert re.findall(r"^COPY .*", stage("project"), re.MULTILINE) == ["COPY --from=dependencies /venv /venv"]
    for text in (
        r"^USER \d+:\d+$", "HEALTHCHECK", r'^CMD \["leads", "serve"\]$', "BIND=0.0.0.0:8080",
        "OPS_BIND=0.0.0.0:9146", "^EXPOSE 8080 9146$", "http://127.0.0.1:8080/healthz",
    ):  # fmt: skip
        assert re.search(text, instructions, re.MULTILINE), text
    assert read_bind({"BIND": "0.0.0.0:8080"}) == ("0.0.0.0", 8080)


def test_the_wheel_of_the_image_is_the_one_that_the_project_declares() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    copied = {
        word for line in re.findall(r"^COPY (.+) \S+$", stage("wheel"), re.MULTILINE) for word in line.split()
    }
    project = {"pyproject.toml", "LICENSE", "scripts/lock/build.txt"}
    assert copied - project == set(declared["wheel"]["only-include"])
    assert project <= copied


def test_images_carry_the_version_that_they_report(services: dict[str, Any]) -> None:
    """So that an earlier version can be deployed again."""
    release = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release is not None
    for name in ("handlers", "edge"):
        assert services[name]["image"] == f"pancake-diva/{name}:{release[1]}"
    assert services["handlers"]["build"]["args"]["VERSION"] == release[1]
    assert f'return "{release[1]}"' in (ROOT / "deploy/nginx/lua/pancake/version.lua").read_text()


def test_edge_and_handlers_can_be_replaced_independently(services: dict[str, Any]) -> None:
    """Neither owns the shared network, and the edge starts without any other service."""
    assert {services[name]["network_mode"] for name in ("edge", "handlers")} == {"service:pod"}
    assert set(services["pod"]["networks"]["default"]["aliases"]) == {"edge", "handlers"}
    assert "depends_on" not in services["edge"]


def test_the_edge_gets_no_access_to_the_database(services: dict[str, Any], secrets: dict[str, str]) -> None:
    given = services["edge"]["environment"]
    assert [name for name in given if "DATABASE" in name or "POSTGRES" in name] == []
    passwords = {value for name, value in secrets.items() if name.endswith("_PASSWORD")}
    assert len(passwords) == 3
    assert passwords.isdisjoint(given.values())
    assert not [value for value in given.values() if "postgresql://" in value]


def test_ports_are_published_on_loopback_and_none_of_an_ops_endpoint(services: dict[str, Any]) -> None:
    published = {port for service in services.values() for port in service.get("ports", [])}
    assert {port.rpartition(":")[0].rpartition(":")[0] for port in published} == {"127.0.0.1"}
    of_pod = {port.rpartition(":")[2] for port in services["pod"]["ports"]}
    assert of_pod == {"8443"}, "neither 8080, where /metrics and /readyz of the handlers are, nor 9145"


def test_every_service_has_its_limits_and_time_to_stop(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert (service["init"], service["read_only"]) == (True, True), name
        assert "/tmp" in service["tmpfs"][0], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    seconds = {
        name: int(service["stop_grace_period"].removesuffix("s")) for name, service in services.items()
    }
    assert seconds["handlers"] > SHUTDOWN_SECONDS, "until open requests have ended"
    # The engine was seen to take 2.6 times its own time-out with handlers that hang.
    own = int(services["hasura"]["environment"]["HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT"])
    assert seconds["hasura"] > 2.6 * own


def test_prometheus_alertmanager_and_grafana_start_on_request_with_the_configuration_of_deploy(
    services: dict[str, Any],
) -> None:
    observing = {"prometheus", "alertmanager", "grafana"}
    on_request = {name for name, service in services.items() if service.get("profiles") == ["observe"]}
    assert on_request == observing
    assert not [name for name, each in services.items() if observing & set(each.get("depends_on", {}))]
    mounts = {
        target: ROOT / source
        for name in observing
        for source, _, rest in (volume.partition(":") for volume in services[name]["volumes"])
        if source.startswith("./")
        for target in [rest.removesuffix(":ro")]
        if rest.endswith(":ro")
    }
    assert [path for path in mounts.values() if not path.exists()] == []
    commands = " ".join(services["prometheus"]["command"] + services["alertmanager"]["command"])
    for path in re.findall(r"--config\.file=(\S+)", commands):
        folder, _, name = path.rpartition("/")
        assert (mounts.get(path) or mounts[folder] / name).is_file(), path
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/pancake.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (mounts[folder] / home.removeprefix(f"{folder}/")).is_file()


def test_prometheus_keeps_the_pilot_and_its_targets_are_services(services: dict[str, Any]) -> None:
    (days,) = re.findall(r"retention\.time=(\d+)d", " ".join(services["prometheus"]["command"]))
    assert int(days) >= 45
    known = {*services, *services["pod"]["networks"]["default"]["aliases"], "localhost"}
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = [target for job in jobs for each in job["static_configs"] for target in each["targets"]]
    assert {target.partition(":")[0] for target in targets} <= known


def test_each_image_has_one_place_and_a_version(services: dict[str, Any]) -> None:
    """`scripts/pin_images --check` says which have no digest."""
    text = COMPOSE + DOCKERFILE + EDGE_DOCKERFILE
    named = re.findall(r"(?:^FROM|image:) ([\w./-]+):v?\d", text, re.MULTILINE)
    ours = ["busybox", "debian", "hasura/graphql-engine", "postgres", "python"]
    assert sorted(named) == sorted([*ours, "grafana/grafana", "prom/alertmanager", "prom/prometheus"])
    images = [service["image"] for service in services.values() if "image" in service]
    from_ = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE + EDGE_DOCKERFILE, re.MULTILINE)
    assert all(re.search(r":v?\d+\.\d+", image) for image in [*images, *from_])
    assert any(image.partition("@")[0].endswith(".cli-migrations-v3") for image in from_)


def sources(dockerfile: Path) -> list[str]:
    """The paths that a Dockerfile copies from the build context."""
    text = dockerfile.read_text().replace("\\\n", " ")
    instructions = [line.split()[1:] for line in text.splitlines() if line.startswith(("COPY ", "ADD "))]
    found = []
    for words in instructions:
        if not any(word.startswith("--from=") for word in words):
            *named, _ = [word for word in words if not word.startswith("--")]
            found += named
    return found


def pattern(line: str) -> re.Pattern[str]:
    """One pattern of .dockerignore. It also matches everything below a folder that it matches.

    Source: https://docs.docker.com/build/concepts/context/#dockerignore-files (Go's filepath.Match and `**`).
    """
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", line.strip("/"))
    text = "".join(tokens.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)
    return re.compile(f"{text}(?:/.*)?")


def is_sent(path: str, ignore: str) -> bool:
    """Whether a file of the clone is in the build context. The last pattern that matches decides."""
    sent = True
    for line in (line.strip() for line in ignore.splitlines()):
        if line and not line.startswith("#") and pattern(line.removeprefix("!")).fullmatch(path):
            sent = line.startswith("!")
    return sent


def test_copied_files_are_in_the_build_context() -> None:
    """Every file below every source. `docker build` fails for a source without files."""
    ignore = (ROOT / ".dockerignore").read_text()
    for dockerfile in [*ROOT.glob("Dockerfile*"), *(ROOT / "deploy").rglob("Dockerfile*")]:
        for source in sources(dockerfile):
            copied = [
                file.relative_to(ROOT).as_posix()
                for path in ROOT.glob(source)
                for file in ([path] if path.is_file() else path.rglob("*"))
                if file.is_file() and "__pycache__" not in file.parts
            ]
            assert copied, source
            assert [path for path in copied if not is_sent(path, ignore)] == [], source
    assert [
        path for path in ("docs/status.md", "tests/conftest.py", ".git/config") if is_sent(path, ignore)
    ] == []
