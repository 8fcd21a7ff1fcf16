"""No secret goes in clear text over a public network, unless a variable allows it by name."""

import base64
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.adapters.clear_text import HOPS
from leads.adapters.settings import SettingsError, read_operator_settings, read_settings
from leads.cli.__main__ import app

EXAMPLE = Path(__file__).parents[3] / ".env.example"
COMPLETE = {
    "DATABASE_URL": "postgresql://db/diva",
    "HASURA_URL": "http://hasura:8080/",
    "HASURA_SERVICE_TOKEN": "service-token-value",
    "HANDLER_SECRET": "h" * 32,
    "EDGE_SECRET": "e" * 32,
    "ENCRYPTION_KEYS": f"k1:{base64.b64encode(bytes(32)).decode()}",
}
PUBLIC = "postgresql://user:pass-word@db.example.com/diva"
REFUSED = [
    ("DATABASE_URL", PUBLIC, "postgres"),
    ("DATABASE_URL", f"{PUBLIC}?sslmode=prefer", "postgres"),
    ("DATABASE_URL", "postgresql://db,203.0.113.7/diva", "postgres"),
    ("DATABASE_URL", "host=db hostaddr=203.0.113.7", "postgres"),
    ("METADATA_DATABASE_URL", PUBLIC, "postgres"),
    ("HASURA_URL", "http://hasura.example.com", "hasura"),
    ("PANCAKE_API_HOSTS", "crm.pancake.vn,http://crm.example.com", "pancake"),
]


@pytest.mark.parametrize(("variable", "value", "hop"), REFUSED)
def test_clear_text_stops_the_start_unless_it_is_allowed_by_name(variable: str, value: str, hop: str) -> None:
    environment = COMPLETE | {variable: value}
    for others in ("", ",".join(name for name in HOPS if name != hop)):
        with pytest.raises(SettingsError) as refused:
            read_settings(environment | {"ALLOW_CLEAR_TEXT": others})
        (problem,) = refused.value.problems
        assert problem.startswith(f"{variable} ")
        assert f"ALLOW_CLEAR_TEXT={hop}" in problem
        assert "pass-word" not in problem
    assert hop in read_settings(environment | {"ALLOW_CLEAR_TEXT": f" {hop} ,"}).clear_text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"{PUBLIC}?sslmode=require"),
        ("DATABASE_URL", f"{PUBLIC}?sslmode=verify-full"),
        ("DATABASE_URL", "postgresql:///diva?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://10.0.0.7,db.internal/diva"),
        ("HASURA_URL", "https://hasura.example.com"),
    ],
)
def test_tls_and_private_networks_are_accepted(variable: str, value: str) -> None:
    assert read_settings(COMPLETE | {variable: value}).clear_text == frozenset()


def test_the_example_asks_for_tls_to_the_database() -> None:
    """Also where the host that replaces the example's is a public one."""
    (url,) = re.findall(r"^DATABASE_URL=(.+)$", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    public = url.replace("@db.internal:", "@db.example.com:")
    assert public != url
    assert read_settings(COMPLETE | {"DATABASE_URL": public}).clear_text == frozenset()


def test_sslmode_may_be_in_the_environment() -> None:
    assert read_settings(COMPLETE | {"DATABASE_URL": PUBLIC, "PGSSLMODE": "verify-full"})


def test_another_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="ALLOW_CLEAR_TEXT has names other than postgres, hasura"):
        read_settings(COMPLETE | {"ALLOW_CLEAR_TEXT": "all"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", PUBLIC),
        ("HASURA_URL", "http://hasura.example.com"),
        ("PUBLIC_URL", "http://crm.example.com"),
    ],
)
def test_the_operators_variables_are_checked_too(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} (has|is) .*public host"):
        read_operator_settings(variable, environment={variable: value})


@pytest.mark.parametrize(
    "arguments",
    [
        ["metadata", "compare", "--with", "http://hasura.example.com"],
        ["connection", "rotate-token", "--public-url", "http://crm.example.com"],
    ],
)
def test_the_same_holds_for_an_option_in_place_of_a_variable(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments, env=dict.fromkeys(COMPLETE, ""))
    assert result.exit_code == 2
    assert "is http to a public host" in " ".join(result.stderr.split())
