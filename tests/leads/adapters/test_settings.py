"""Settings from the environment: complete, checked at the start, never printed, nothing in clear text."""

import base64
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leads.adapters.caller_secret import CallerSecret
from leads.adapters.clear_text import HOPS
from leads.adapters.settings import SettingsError, read_bind, read_operator_settings, read_settings
from leads.cli.__main__ import app

KEY = base64.b64encode(bytes(32)).decode()
HANDLER_SECRET = "handler-secret-of-32-characters!"
PREVIOUS_SECRET = "handler-secret-before-it-of-32-ch"
EDGE_SECRET = "edge-secret-of-at-least-32-chars"
NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
UNTIL = {"HANDLER_SECRET_PREVIOUS_UNTIL": "2026-03-11T12:00+07:00"}
COMPLETE = {
    "DATABASE_URL": "postgresql://user:pass-word@db/diva",
    "HASURA_URL": "http://hasura:8080/",
    "HASURA_SERVICE_TOKEN": "service-token-value",
    "HANDLER_SECRET": HANDLER_SECRET,
    "EDGE_SECRET": EDGE_SECRET,
    "ENCRYPTION_KEYS": f"k1:{KEY}",
}


def problems(**changes: str | None) -> list[str]:
    environment = {name: value for name, value in (COMPLETE | changes).items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        read_settings(environment, NOW)
    return str(caught.value).split("; ")


def test_a_complete_environment_is_read() -> None:
    settings = read_settings(COMPLETE)
    assert settings.database_url == settings.metadata_database_url == COMPLETE["DATABASE_URL"]
    assert settings.hasura_url == "http://hasura:8080"
    assert settings.handler_secret == CallerSecret(HANDLER_SECRET)
    assert settings.key_ring.current == "k1"
    assert (settings.ingest_connections, settings.work_connections) == (2, 8)


def test_every_secret_may_have_a_previous_value_with_an_end() -> None:
    variables = UNTIL | {"HANDLER_SECRET_PREVIOUS": PREVIOUS_SECRET, "EDGE_SECRET_PREVIOUS": " "}
    settings = read_settings(COMPLETE | variables, NOW)
    until = datetime(2026, 3, 11, 5, tzinfo=UTC)
    assert settings.handler_secret == CallerSecret(HANDLER_SECRET, PREVIOUS_SECRET, until)
    assert settings.edge_secret == CallerSecret(EDGE_SECRET)
    for given, at_start, at_end in (
        (HANDLER_SECRET, True, True),
        (PREVIOUS_SECRET, True, False),
        ("", False, False),
        (None, False, False),
    ):
        assert settings.handler_secret.accepts(given, until - timedelta(seconds=1)) is at_start
        assert settings.handler_secret.accepts(given, until) is at_end


def test_a_process_starts_after_the_end_of_a_previous_secret() -> None:
    variables = {"EDGE_SECRET_PREVIOUS": PREVIOUS_SECRET, "EDGE_SECRET_PREVIOUS_UNTIL": "2020-01-01T00:00Z"}
    assert not read_settings(COMPLETE | variables, NOW).edge_secret.accepts(PREVIOUS_SECRET, NOW)


@pytest.mark.parametrize("name", ["HANDLER_SECRET", "EDGE_SECRET"])
@pytest.mark.parametrize(
    ("until", "problem"),
    [
        (None, "is not a time with a zone: give it the end of"),
        ("", "is not a time with a zone"),
        ("soon", "is not a time with a zone"),
        ("2026-03-11", "is not a time with a zone"),
        ("2026-03-11T12:00", "is not a time with a zone"),
        ("2026-06-02T05:06:01Z", "is more than 90 days ahead"),
    ],
)
def test_a_previous_secret_needs_an_end_within_90_days(name: str, until: str | None, problem: str) -> None:
    (found,) = problems(**{f"{name}_PREVIOUS": PREVIOUS_SECRET, f"{name}_PREVIOUS_UNTIL": until})
    assert found.startswith(f"{name}_PREVIOUS_UNTIL {problem}")
    last = {f"{name}_PREVIOUS": PREVIOUS_SECRET, f"{name}_PREVIOUS_UNTIL": "2026-06-02T05:06:00Z"}
    assert read_settings(COMPLETE | last, NOW)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", {"https://crm.pancake.vn"}),
        (" , ", {"https://crm.pancake.vn"}),
        ("crm.example.com", {"https://crm.example.com"}),
        (
            "crm.example.com:443,crm.example.com:8443",
            {"https://crm.example.com", "https://crm.example.com:8443"},
        ),
        ("http://127.0.0.1:8084, http://pancake:80", {"http://127.0.0.1:8084", "http://pancake"}),
    ],
)
def test_a_host_without_a_scheme_is_reached_by_tls_only(text: str, hosts: set[str]) -> None:
    assert read_settings(COMPLETE | {"PANCAKE_API_HOSTS": text}).pancake_api_hosts == hosts
    assert read_operator_settings(environment={"PANCAKE_API_HOSTS": text}).pancake_api_hosts == hosts


def test_the_metadata_can_be_in_another_database() -> None:
    other = "postgresql://db/metadata"
    assert read_settings(COMPLETE | {"METADATA_DATABASE_URL": other}).metadata_database_url == other


def test_all_missing_variables_are_named_at_once_with_what_to_set() -> None:
    order = ["DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_URL", "HASURA_SERVICE_TOKEN"]
    found = problems(**dict.fromkeys(COMPLETE))
    missing = [f"{name} is not set: give it " for name in [*order, "HANDLER_SECRET", "EDGE_SECRET"]]
    assert len(found) == len(missing)
    assert all(problem.startswith(start) for problem, start in zip(found, missing, strict=True)), found


@pytest.mark.parametrize("name", COMPLETE)
def test_an_empty_value_is_a_missing_one(name: str) -> None:
    (problem,) = problems(**{name: "  "})
    assert problem.startswith(f"{name} is not set: ")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATABASE_URL", "not a url at all", "DATABASE_URL is not a PostgreSQL URL"),
        ("DATABASE_URL", "mysql://db", "DATABASE_URL is not a PostgreSQL URL"),
        ("METADATA_DATABASE_URL", "nope nope", "METADATA_DATABASE_URL is not a PostgreSQL URL"),
        ("HASURA_URL", "hasura.internal:8080", "HASURA_URL is not an http or https URL"),
        ("HASURA_URL", "http://", "HASURA_URL is not an http or https URL"),
        ("HANDLER_SECRET", "s" * 31, "HANDLER_SECRET is shorter than 32 characters"),
        ("HANDLER_SECRET_PREVIOUS", "s" * 31, "HANDLER_SECRET is shorter than 32 characters"),
        ("EDGE_SECRET", "s" * 31, "EDGE_SECRET is shorter than 32 characters"),
        ("ENCRYPTION_KEYS", "k1:nonsense*", "ENCRYPTION_KEYS: key 1 is not base64"),
        ("ENCRYPTION_KEYS", KEY, "ENCRYPTION_KEYS: key 1 is not an id with 32 bytes in base64"),
        (
            "PANCAKE_API_HOSTS",
            "crm.pancake.vn,https://crm.pancake.vn/api",
            "PANCAKE_API_HOSTS: 'https://crm.pancake.vn/api' is not a host."
            " Give it host[:port] or, without TLS, http://host[:port]",
        ),
        ("INGEST_CONNECTIONS", "0", "INGEST_CONNECTIONS is not a number from 1 to 100"),
        ("WORK_CONNECTIONS", "101", "WORK_CONNECTIONS is not a number from 1 to 100"),
        ("WORK_CONNECTIONS", "²", "WORK_CONNECTIONS is not a number from 1 to 100"),
        ("WORK_CONNECTIONS", "many", "WORK_CONNECTIONS is not a number from 1 to 100"),
    ],
)
def test_an_invalid_variable_is_named_without_its_value(name: str, value: str, problem: str) -> None:
    (found,) = problems(**(UNTIL | {name: value}))
    assert found.startswith(problem)


def test_the_repr_of_the_settings_contains_no_secret() -> None:
    shown = repr(read_settings(COMPLETE | UNTIL | {"HANDLER_SECRET_PREVIOUS": PREVIOUS_SECRET}, NOW))
    for value in (*COMPLETE.values(), PREVIOUS_SECRET, "pass-word", KEY):
        assert value not in shown
    assert len(fields(read_settings(COMPLETE))) > 8


def test_a_verb_reads_only_what_it_needs() -> None:
    """Other variables may be missing or wrong, and stay out of its settings."""
    settings = read_operator_settings(
        "DATABASE_URL",
        environment=COMPLETE | {"ENCRYPTION_KEYS": "not a key", "HASURA_ADMIN_SECRET": "secret"},
    )
    assert settings.database_url == COMPLETE["DATABASE_URL"]
    assert (settings.hasura_url, settings.hasura_admin_secret) == ("", "")


def test_all_that_a_verb_is_missing_is_named_at_once_with_what_to_set() -> None:
    """No value is quoted."""
    with pytest.raises(SettingsError) as caught:
        read_operator_settings(
            "DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_ADMIN_SECRET", "HASURA_URL",
            environment={
                "DATABASE_URL": "nonsense of mine", "ENCRYPTION_KEYS": "k1:c2hvcnQ=", "HASURA_URL": "nonsense"
            },
        )  # fmt: skip
    names = [problem.partition(" ")[0] for problem in caught.value.problems]
    assert names == ["HASURA_ADMIN_SECRET", "DATABASE_URL", "HASURA_URL", "ENCRYPTION_KEYS:"]
    assert all("give it" in problem for problem in caught.value.problems)
    assert "nonsense" not in str(caught.value)
    assert "c2hvcnQ=" not in str(caught.value)


@pytest.mark.parametrize("bind", ["8000x", "localhost", "127.0.0.1:", "127.0.0.1:70000"])
def test_an_address_without_a_usable_port_is_refused(bind: str) -> None:
    with pytest.raises(SettingsError, match="BIND is not an address and a port"):
        read_bind({"BIND": bind})


EXAMPLE = Path(__file__).parents[3] / ".env.example"
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
