"""What cannot be run without Docker is held to what can: variables, settings, stages, pinned versions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from runtime.settings import read_settings
from sandbox.up import app

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """The lines of `scripts/sandbox secrets`, unquoted as compose does."""
    printed = CliRunner().invoke(app, ["secrets"]).stdout
    pairs = (line.partition("=") for line in printed.splitlines())
    return {name: value.strip("'") for name, _, value in pairs}


@pytest.fixture(scope="module")
def services(secrets: dict[str, str]) -> dict[str, Any]:
    """The services with the variables filled in."""

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
    example = (ROOT / ".env.example").read_text()
    explained = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    code = (ROOT / "runtime/settings.py").read_text() + (ROOT / "app.py").read_text()
    code += (ROOT / "scripts/serve").read_text()
    read = set(re.findall(r"(?:required|number|secrets|get|_read)\(\"([A-Z_]+)\"|\$\{([A-Z_]+):-", code))
    assert {one or other for one, other in read} - {"ROOT"} <= explained
    assert {"HANDLER_SECRET_PREVIOUS", "EDGE_SECRET_PREVIOUS"} <= explained


def test_the_image_of_the_handlers_holds_production_code_alone() -> None:
    stage = DOCKERFILE.partition("FROM python AS handlers")[2]
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", stage, re.MULTILINE))
    assert copied == {"app.py", "domain", "runtime", "handlers", "cron", "sql"}
    assert "FROM" not in stage
    assert re.search(r"^USER \d+:\d+$", stage, re.MULTILINE)
    assert "HEALTHCHECK" in stage


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    images += [image for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in image]
    assert images
    assert all(re.search(r":v?\d+\.\d+", image) for image in images)
    assert any(image.endswith(".cli-migrations-v3") for image in images)
