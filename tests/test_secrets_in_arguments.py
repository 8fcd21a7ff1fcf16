"""No documented command, service or image has a secret as an argument, which every process can read."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "deploy/nginx/README.md",
    ROOT / "sandbox/engine/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file()]
SECRET = re.compile(
    r"\$\{?\w*(?:SECRET|TOKEN|PASSWORD|KEYS?|DATABASE_URL|OWNER_URL|OPERATORS_URL)\b| postgres(?:ql)?://"
)
PROGRAMS = [
    path
    for folder in ("sandbox", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "sandbox" / "engine" / "graphql_engine" not in path.parents
]
"""All but the stand-in, which declares the option."""
BUILT_IN = {"printf", "echo", "read", "export", "eval", "test", "["}
"""Commands that start no process."""


def with_secret(script: str) -> list[str]:
    """The commands of a shell script that have a secret among their arguments."""
    lines = re.sub(r"\\\n\s*", " ", script).splitlines()
    commands = [part.strip() for line in lines for part in re.split(r"\|\|?|&&|;|\$\(", line)]
    found = []
    for command in commands:
        words = re.sub(r"^(?:\w+=(?:\"[^\"]*\"|'[^']*'|\S*)\s*)+", "", command)
        if words and words.split()[0] not in BUILT_IN and SECRET.search(words.split("#")[0]):
            found.append(command)
    return found


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_has_a_secret_in_its_arguments(path: Path) -> None:
    text = path.read_text()
    blocks = re.findall(r"^\s*```\w*\n(.*?)^\s*```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", text)
    scripts = [*blocks, *(code for code in inline if " " in code)] if path.suffix == ".md" else [text]
    assert [command for script in scripts for command in with_secret(script)] == []


@pytest.mark.parametrize(
    "script",
    [
        'psql "$DATABASE_URL" -c x',
        'curl --header "X-Secret: $HASURA_ADMIN_SECRET" \\\n  "$HASURA_URL"',
        'A=1 hasura migrate --admin-secret "${HASURA_ADMIN_SECRET}"',
        'true && psql "$OWNER_URL"',
        "python -m graphql_engine --database-url postgresql://…",
    ],
)
def test_such_a_command_is_found(script: str) -> None:
    assert len(with_secret(script)) == 1


@pytest.mark.parametrize(
    "script",
    [
        'printf \'header = "X: %s"\' "$EDGE_SECRET" | curl --config - "$HANDLERS_URL/edge/policy"',
        'HASURA_GRAPHQL_ADMIN_SECRET="$HASURA_ADMIN_SECRET" hasura migrate apply',
        "read -rs HASURA_ADMIN_SECRET && export HASURA_ADMIN_SECRET",
        "psql -c 'SELECT 1'  # not $DATABASE_URL",
    ],
)
def test_input_and_environment_are_no_arguments(script: str) -> None:
    assert with_secret(script) == []


def test_no_program_gives_the_stand_in_its_database_as_an_argument() -> None:
    option = "--" + "database-url"
    assert [path.name for path in PROGRAMS if f'"{option}' in path.read_text()] == []


def test_no_service_of_compose_has_one() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        words = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
        assert not SECRET.search(str(words)), name


@pytest.mark.parametrize("path", ["Dockerfile", "deploy/nginx/Dockerfile", "deploy/nginx/container/start"])
def test_no_image_has_one(path: str) -> None:
    assert with_secret((ROOT / path).read_text()) == []
