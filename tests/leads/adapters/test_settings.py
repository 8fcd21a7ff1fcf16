"""Settings from the environment: complete, checked at the start, never printed, nothing in clear text.

And the secrets that the key ring encrypts: sealed for one use, compared.
"""

import asyncio
import base64
import gc
import re
import ssl
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app import create_app
from leads.adapters.clock import Clock
from leads.adapters.pancake_api import Access, PancakeApi
from leads.adapters.secrets import DecryptionError, KeyRing, SecretScope, matches, open_sealed
from leads.adapters.settings import HOPS, CallerSecret, SettingsError, read_settings
from leads.domain.errors import SecretUnreadable
from ops.cli import app
from ops.daily.connection_secrets import reseal, seal
from ops.settings import read_operator_settings
from tests.support.edge.harness import write_certificate
from tests.support.fake_services import FakeServer

KEY = base64.b64encode(bytes(32)).decode()
HANDLER_SECRET = "handler-secret-of-32-characters!"
PREVIOUS_SECRET = "handler-secret-before-it-of-32-ch"
EDGE_SECRET = "edge-secret-of-at-least-32-chars"
NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
UNTIL = {"HANDLER_SECRET_PREVIOUS_UNTIL": "2026-03-11T12:00+07:00"}
COMPLETE = {
    "DATABASE_URL": "postgresql://user:pass-word@db/diva", "HASURA_URL": "http://hasura:8080/",
    "HASURA_SERVICE_TOKEN": "service-token-value", "HANDLER_SECRET": HANDLER_SECRET,
    "EDGE_SECRET": EDGE_SECRET, "ENCRYPTION_KEYS": f"k1:{KEY}",
}  # fmt: skip


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
    other = "postgresql://db/metadata"
    assert read_settings(COMPLETE | {"METADATA_DATABASE_URL": other}).metadata_database_url == other


async def test_a_process_leaves_what_it_imported_out_of_the_search_for_cycles() -> None:
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    settings = read_settings(COMPLETE)
    try:
        with mock.patch("app.read_settings", return_value=settings), mock.patch("app.configure_logs"):
            create_app()
        assert gc.get_freeze_count() > frozen + 1_000
        assert gc.get_threshold()[0] > threshold[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def test_every_secret_may_have_a_previous_value_with_an_end() -> None:
    variables = UNTIL | {"HANDLER_SECRET_PREVIOUS": PREVIOUS_SECRET, "EDGE_SECRET_PREVIOUS": " "}
    settings = read_settings(COMPLETE | variables, NOW)
    until = datetime(2026, 3, 11, 5, tzinfo=UTC)
    assert settings.handler_secret == CallerSecret(HANDLER_SECRET, PREVIOUS_SECRET, until)
    assert settings.edge_secret == CallerSecret(EDGE_SECRET)
    for secret, at_start, at_end in (
        (HANDLER_SECRET, True, True),
        (PREVIOUS_SECRET, True, False),
        ("", False, False),
        (None, False, False),
    ):
        assert settings.handler_secret.accepts(secret, until - timedelta(seconds=1)) is at_start
        assert settings.handler_secret.accepts(secret, until) is at_end
    variables = {"EDGE_SECRET_PREVIOUS": PREVIOUS_SECRET, "EDGE_SECRET_PREVIOUS_UNTIL": "2020-01-01T00:00Z"}
    assert not read_settings(COMPLETE | variables, NOW).edge_secret.accepts(PREVIOUS_SECRET, NOW)


@pytest.mark.parametrize("name", ["HANDLER_SECRET", "EDGE_SECRET"])
def test_a_previous_secret_needs_an_end_within_90_days(name: str, subtests: pytest.Subtests) -> None:
    def given(until: str | None) -> dict[str, str | None]:
        return {f"{name}_PREVIOUS": PREVIOUS_SECRET, f"{name}_PREVIOUS_UNTIL": until}

    for until in (None, "", "soon", "2026-03-11", "2026-03-11T12:00"):
        with subtests.test(until=until):
            (found,) = problems(**given(until))
            assert found.startswith(f"{name}_PREVIOUS_UNTIL is not a time with a zone: give it the end of")
    (found,) = problems(**given("2026-06-02T05:06:01Z"))
    assert found.startswith(f"{name}_PREVIOUS_UNTIL is more than 90 days ahead")
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


def test_all_missing_variables_are_named_at_once_with_what_to_set() -> None:
    order = ["DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_URL", "HASURA_SERVICE_TOKEN"]
    found = problems(**dict.fromkeys(COMPLETE))
    missing = [f"{name} is not set: give it " for name in [*order, "HANDLER_SECRET", "EDGE_SECRET"]]
    assert len(found) == len(missing)
    assert all(problem.startswith(start) for problem, start in zip(found, missing, strict=True)), found
    for name in COMPLETE:
        (problem,) = problems(**{name: "  "})
        assert problem.startswith(f"{name} is not set: ")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATABASE_URL", "not a url at all", "DATABASE_URL is not a PostgreSQL URL"),
        ("DATABASE_URL", "mysql://db", "DATABASE_URL is not a PostgreSQL URL"),
        ("METADATA_DATABASE_URL", "nope nope", "METADATA_DATABASE_URL is not a PostgreSQL URL"),
        ("DATABASE_URL", "postgresql://h:p@s@db/diva", "DATABASE_URL has an @ in the password that is not"),
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


def test_a_verb_reads_only_what_it_needs_and_all_that_is_missing_is_named_with_what_to_set() -> None:
    """Other variables may be wrong, and stay out of its settings. No value is quoted."""
    environment = COMPLETE | {"ENCRYPTION_KEYS": "k1:c2hvcnQ=", "HASURA_ADMIN_SECRET": "secret"}
    settings = read_operator_settings("DATABASE_URL", environment=environment)
    assert settings.database_url == COMPLETE["DATABASE_URL"]
    assert (settings.hasura_url, settings.hasura_admin_secret) == ("", "")
    wrong = dict.fromkeys(("DATABASE_URL", "HASURA_URL"), "nonsense of mine")
    with pytest.raises(SettingsError) as caught:
        read_operator_settings(
            "DATABASE_URL", "ENCRYPTION_KEYS", "HASURA_ADMIN_SECRET", "HASURA_URL",
            environment=wrong | {"ENCRYPTION_KEYS": "k1:c2hvcnQ="},
        )  # fmt: skip
    names = [problem.partition(" ")[0] for problem in caught.value.problems]
    assert names == ["HASURA_ADMIN_SECRET", "DATABASE_URL", "HASURA_URL", "ENCRYPTION_KEYS:"]
    assert all("give it" in problem for problem in caught.value.problems)
    assert "nonsense" not in str(caught.value)
    assert "c2hvcnQ=" not in str(caught.value)


@pytest.mark.parametrize("bind", ["8000x", "localhost", "127.0.0.1:", "127.0.0.1:70000"])
def test_an_address_without_a_usable_port_is_refused(bind: str) -> None:
    with pytest.raises(SettingsError, match="BIND is not an address and a port"):
        read_settings(COMPLETE | {"BIND": bind})


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
def test_clear_text_stops_the_start_unless_it_is_allowed_by_name(
    variable: str, value: str, hop: str, subtests: pytest.Subtests
) -> None:
    environment = COMPLETE | {variable: value}
    for others in ("", ",".join(name for name in HOPS if name != hop)):
        with subtests.test(others=others):
            with pytest.raises(SettingsError) as refused:
                read_settings(environment | {"ALLOW_CLEAR_TEXT": others})
            (problem,) = refused.value.problems
            assert problem.startswith(f"{variable} ")
            assert f"ALLOW_CLEAR_TEXT={hop}" in problem
            assert "pass-word" not in problem
    assert hop in read_settings(environment | {"ALLOW_CLEAR_TEXT": f" {hop} ,"}).clear_text
    with pytest.raises(SettingsError, match="ALLOW_CLEAR_TEXT has names other than postgres, hasura"):
        read_settings(COMPLETE | {"ALLOW_CLEAR_TEXT": "all"})


def test_tls_and_private_networks_are_accepted_and_the_example_asks_for_tls() -> None:
    """The example also where a public host replaces the private one."""
    (example,) = re.findall(r"^DATABASE_URL=(.+)$", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    public = example.replace("@db.internal:", "@db.example.com:")
    assert public != example
    for variables in (
        *({"DATABASE_URL": f"{PUBLIC}?sslmode={mode}"} for mode in ("require", "verify-full")),
        {"DATABASE_URL": "postgresql:///diva?host=/run/postgresql"},
        {"DATABASE_URL": "postgresql://10.0.0.7,db.internal/diva"},
        {"DATABASE_URL": PUBLIC, "PGSSLMODE": "verify-full"},
        {"DATABASE_URL": public},
        {"HASURA_URL": "https://hasura.example.com"},
    ):
        assert read_settings(COMPLETE | variables).clear_text == frozenset(), variables


def test_the_operators_variables_are_checked_too(subtests: pytest.Subtests) -> None:
    urls = {"HASURA_URL": "http://hasura.example.com", "PUBLIC_URL": "http://crm.example.com"}
    for variable, value in ({"DATABASE_URL": PUBLIC} | urls).items():
        refused = pytest.raises(SettingsError, match=f"{variable} (has|is) .*public host")
        with subtests.test(variable=variable, value=value), refused:
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


# Secrets: encrypted, sealed for one use, compared


OLD_KEY, NEW_KEY = bytes(32), bytes([1]) * 32
OLD = KeyRing({"2025": OLD_KEY})
RING = KeyRing({"2026": NEW_KEY, "2025": OLD_KEY})
KEY_USE = SecretScope("api_key", "c1", "https://crm.pancake.vn/api")


@given(st.text(max_size=100).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_a_ciphertext_decrypts_to_the_secret_and_does_not_contain_it(plaintext: str) -> None:
    sealed = RING.encrypt(plaintext, "api_key")
    assert RING.decrypt(sealed, "api_key") == plaintext
    assert len(plaintext) < 4 or plaintext.encode() not in sealed
    assert RING.encrypt(plaintext, "api_key") != sealed


def test_the_first_key_encrypts_and_the_others_still_decrypt() -> None:
    before = OLD.encrypt("secret", "api_key")
    assert RING.decrypt(before, "api_key") == "secret"
    assert (KeyRing.key_id(before), KeyRing.key_id(RING.encrypt("secret", "api_key"))) == ("2025", "2026")
    with pytest.raises(DecryptionError, match="key '2026' is not in the key ring"):
        OLD.decrypt(RING.encrypt("secret", "api_key"), "api_key")
    with pytest.raises(DecryptionError, match="not sealed for this use, or key '2026' of the key ring"):
        RING.decrypt(RING.encrypt("secret", "api_key"), "webhook_secret")


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(1, 255))
def test_invalid_and_changed_ciphertexts_are_refused(data: bytes, position: int, change: int) -> None:
    sealed = bytearray(RING.encrypt("a secret", "api_key"))
    sealed[position % len(sealed)] ^= change
    for refused in (data, bytes(sealed)):
        with pytest.raises(DecryptionError):
            RING.decrypt(refused, "api_key")


def test_a_key_ring_is_parsed_and_errors_never_contain_its_keys() -> None:
    first, second = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    ring = KeyRing.parse(f"new:{first}, old:{second},")
    assert ring.current == "new"
    assert ring.decrypt(KeyRing({"old": bytes([2]) * 32}).encrypt("x", "p"), "p") == "x"
    for bad in (f"a:{first[:-4]}", f":{first}", first, f"a:{first}é", "a:", f"{'i' * 256}:{first}"):
        with pytest.raises(ValueError) as caught:
            KeyRing.parse(f"ok:{first},{bad}")
        assert first[:20] not in str(caught.value)
    with pytest.raises(ValueError, match="key 2 has the id of an earlier key"):
        KeyRing.parse(f"k1:{first},k1:{second}")
    with pytest.raises(ValueError, match="empty"):
        KeyRing({}).encrypt("x", "p")


def test_a_secret_matches_the_current_or_the_previous_one() -> None:
    both = ("current", "previous")
    assert [text for text in (*both, "curren", "current ", "", None, "é") if matches(text, both)] == [*both]
    assert not matches("current", ())


def test_an_api_key_opens_for_its_connection_and_base_url_only_and_other_secrets_for_their_kind() -> None:
    sealed = seal(RING, "secret", KEY_USE)
    assert open_sealed(RING, sealed, KEY_USE) == "secret"
    for other in (
        SecretScope("api_key", "c1", "https://crm.pancake.vn/api2"),
        SecretScope("api_key", "c2", "https://crm.pancake.vn/api"),
        SecretScope("header_secret", "c1", "https://crm.pancake.vn/api"),
        SecretScope("api_key", "c1"),
    ):
        for read in (open_sealed, reseal):
            with pytest.raises(SecretUnreadable, match="it was not sealed for this use, or key '2026'"):
                read(RING, sealed, other)
    sealed = seal(RING, "secret", SecretScope("header_secret", "c1", "https://crm.pancake.vn/api"))
    assert open_sealed(RING, sealed, SecretScope("header_secret", "c1")) == "secret", (
        "whatever the base URL is"
    )
    with pytest.raises(SecretUnreadable):
        open_sealed(RING, sealed, SecretScope("webhook_secret", "c1"))


def test_a_secret_is_sealed_again_only_with_another_key() -> None:
    fresh = reseal(RING, seal(OLD, "secret", KEY_USE), KEY_USE)
    assert (RING.key_id(fresh), open_sealed(RING, fresh, KEY_USE)) == ("2026", "secret")
    assert reseal(RING, fresh, KEY_USE) == fresh


def test_the_id_of_an_unknown_key_is_shown_without_control_characters() -> None:
    sealed = seal(KeyRing({"a\x1b[31m\u202e": OLD_KEY}), "secret", KEY_USE)
    with pytest.raises(SecretUnreadable, match=r"key 'a\\x1b\[31m\\u202e' is not in the key ring"):
        open_sealed(RING, sealed, KEY_USE)


def test_pancake_is_called_with_the_authorities_of_ssl_cert_file_and_without_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificate(tmp_path, "localhost")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "fullchain.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with FakeServer("localhost", served) as server:
        server.expect_request(re.compile("/.*")).respond_with_json({"data": []})
        host = f"https://localhost:{server.port}"
        pancake = PancakeApi(Clock(), {host})
        assert asyncio.run(pancake.sources(Access("c1", host, 123, "any"))) == []
