"""The input of `leads setup`: files, answers, tokens, logins and their rights; the values of a way."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from ops.cli import app
from ops.clients.db_session import OwnerUnavailable
from ops.error_texts import describe_answer
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.golive.deploy.step import Found, State, Step
from ops.setup.answers import gather
from ops.setup.env_files import FILES, KEYS, EnvFiles, login_of, read_env_files, url_of_login
from ops.setup.prepare import has_connection, prepare
from ops.setup.steps import Setup
from ops.setup.values import ValueFile, value_files, value_steps
from sandbox.processes import ROOT
from tests.support.edge.harness import write_certificate
from tests.support.installation import DONE, LOGINS, Customer, run_setup, said_by, setup, tls_of

GIVEN = {
    "HASURA_URL": "http://hasura:8080", "HASURA_ADMIN_SECRET": "a" * 32, "HANDLERS_URL": "http://handlers:8080",
    "PUBLIC_URL": "https://crm.example.com", "EDGE_STATUS_URL": "http://127.0.0.1:9145",
}  # fmt: skip


PER_FILE = {
    "handlers.env": {"DATABASE_URL": "postgresql://h:p@db/diva", "HASURA_SERVICE_TOKEN": "s.s.s"},
    "edge.env": {"HANDLERS_URL": "http://127.0.0.1:8080", "HASURA_EDGE_TOKEN": "e.e.e"},
    "ops.env": {"DATABASE_URL": "postgresql://o:p@db/diva", "HASURA_SERVICE_TOKEN": "s.s.s"},
}


def filled(folder: Path) -> EnvFiles:
    return read_env_files(folder).filled(GIVEN, PER_FILE)


def test_the_files_have_every_key_once_and_no_value_needs_quotes(tmp_path: Path) -> None:
    files = filled(tmp_path)
    assert files.write(read_env_files(tmp_path)) == list(FILES)
    assert read_env_files(tmp_path).missing() == []
    for file, keys in KEYS.items():
        path = tmp_path / file
        lines = path.read_text().splitlines()
        assert [line.partition("=")[0] for line in lines] == list(keys)
        assert not any(character in path.read_text() for character in " '\"$`\\#")
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_value_that_is_there_is_never_changed_and_a_key_of_a_person_stays(tmp_path: Path) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    with (tmp_path / "edge.env").open("a") as file:
        file.write("EDGE_WORKERS=2\n")
    before = {file: (tmp_path / file).read_text() for file in FILES}
    (tmp_path / "handlers.env").unlink()
    again = filled(tmp_path)
    assert again.write(read_env_files(tmp_path)) == ["handlers.env"]
    after = {file: (tmp_path / file).read_text() for file in FILES}
    # Its secrets were in the other files too; the URL of its login is the answer's.
    assert after == before


def test_a_secret_that_differs_between_two_files_is_named(tmp_path: Path) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    path = tmp_path / "engine.env"
    path.write_text(path.read_text().replace("HANDLER_SECRET=", "HANDLER_SECRET=x"))
    with pytest.raises(
        CommandFailed, match=r"HANDLER_SECRET differs between .*handlers.env and .*engine.env"
    ):
        read_env_files(tmp_path)


def test_an_address_of_prometheus_that_comes_later_is_added_for_the_operators(tmp_path: Path) -> None:
    """With it `leads status` names handlers that restart each minute."""
    filled(tmp_path).write(read_env_files(tmp_path))
    url = "http://prometheus:9090"
    again = read_env_files(tmp_path).filled(GIVEN | {"PROMETHEUS_URL": url}, PER_FILE)
    assert again.write(read_env_files(tmp_path)) == ["ops.env"]
    assert (tmp_path / "ops.env").read_text().endswith(f"\nPROMETHEUS_URL={url}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workspaces: 607", "no such answers: workspaces"),
        ("[1", "cannot be read"),
        ("- 1", "is no list of answers"),
        ("api_key: x", "can be read by others: chmod 600"),
        ("way: docker", "answers.yaml: way is 'docker'; it can be compose, systemd, kubernetes"),
        ("way: [compose]", "way is .'compose'.; it can be compose, systemd, kubernetes"),
    ],
)
def test_a_wrong_answers_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text(text)
    path.chmod(0o644)
    with pytest.raises(WrongUsage, match=said):
        gather({}, path, read_env_files(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("name", ["ops.env", "answers.yaml"])
def test_a_file_of_another_user_is_refused(name: str, tmp_path: Path) -> None:
    """In a folder that others write it may name their engine, which would be sent the admin secret."""
    filled(tmp_path).write(read_env_files(tmp_path))
    (tmp_path / "answers.yaml").write_text("workspace: 607\n")
    os.chown(tmp_path / name, 12345, -1)
    with pytest.raises(CommandFailed, match=f"{name} belongs to another user"):
        gather({}, None, read_env_files(tmp_path))


def test_without_a_terminal_every_missing_answer_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["setup", "--folder", str(tmp_path / "pancake")])
    assert (run.exit_code, (tmp_path / "pancake").exists()) == (2, False)
    for text in ("--hasura-url", "HASURA_ADMIN_SECRET", "OWNER_DATABASE_URL"):
        assert text in run.stderr


MALFORMED = (
    "postgres:geheim@db/diva", "geheim", "http://o:geheim@db/diva", "postgresql://o:geheim%zz@db/diva",
    "postgresql://o:a@geheim@db/diva", "postgresql://o:a@db/diva?geheim=1",
)  # fmt: skip


@pytest.mark.parametrize("url", [*MALFORMED, "host=db password=geheim"])
def test_a_malformed_database_url_of_the_owner_is_never_quoted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNER_DATABASE_URL", url)
    said = r"OWNER_DATABASE_URL is no URL: postgresql://user:"
    files = read_env_files(tmp_path)
    with pytest.raises(WrongUsage, match=said) as of_variable:
        gather({}, None, files).ask("owner_database_url")
    with pytest.raises(WrongUsage, match=said) as given:
        prepare(gather({"owner_database_url": url}, None, files), files, is_new=True)
    assert "geheim" not in f"{of_variable.value} {given.value}"


@pytest.mark.slow("it tries wrong answers on an engine and a database")
def test_bad_input_is_one_sentence_with_the_cure_and_changes_nothing(
    customer: Customer, subtests: pytest.Subtests
) -> None:
    before = customer.dump()
    customer.execute(f"CREATE ROLE {LOGINS}_other LOGIN PASSWORD 'x'")
    others_url = customer.url_as(f"{LOGINS}_other", "x")
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"admin_secret": "wrong"}, 2, "does not accept the admin secret"),
        ({"hasura_url": "http://127.0.0.1:1"}, 3, "http://127.0.0.1:1/v1/metadata does not answer"),
        ({"owner_database_url": "postgresql://x@127.0.0.1:1/diva"}, 3, "Connection refused"),
        ({"jwt_secret": {"type": "HS256", "key": "k" * 32}}, 2, "The engine refuses a token"),
        ({"owner_database_url": others_url}, 1, f"{LOGINS}_other does not own Diva's tables"),
        ({"workspace": None}, 2, "Number of Pancake's workspace, for example 607: --workspace"),
    ]
    for changed, code, said in cases:
        with subtests.test(**changed):
            customer.write_answers(**changed)
            setup(code=code, says=[said])
            assert customer.dump() == before
            assert not list(customer.pancake_folder.glob("*.env"))
    customer.write_answers()
    customer.execute(f"CREATE ROLE {LOGINS}_handlers LOGIN")
    setup(code=1, says=["choose other names with --logins NAME"])
    customer.execute(f"DROP ROLE {LOGINS}_handlers; DROP ROLE {LOGINS}_other")
    with psycopg.connect(customer.database_url) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('leads golive deploy'))")
        setup(code=1, says=["Another deployment runs on this database"])
    assert customer.dump() == before


@pytest.mark.slow("it asks an engine and a database, again and again")
def test_another_version_of_engine_or_postgresql_is_refused_before_anything_is_changed(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = customer.dump()
    needed, minimum = "ops.clients.hasura_admin.Engine.version", "ops.checks.deployment.MIN_POSTGRESQL"
    for version, said in (
        ("v2.48.0", "the engine is v2.48.0: v2.50.6 or later is needed (or --accept-engine v2.48.0)"),
        ("v2.51.0", "the engine is v2.51.0: only versions below v2.51.0 were tried"),
        ("v3.0", "the engine is v3.0: v2.50.6 or later is needed"),
    ):
        monkeypatch.setattr(needed, lambda _, found=version: found)
        setup(code=1, says=[said])
        assert not list(customer.pancake_folder.glob("*.env"))
    monkeypatch.setattr(minimum, 99)
    setup("--accept-engine", "v3.0", code=1, says=["99 or later is needed"])
    assert not list(customer.pancake_folder.glob("*.env"))
    assert customer.dump() == before
    monkeypatch.setattr(minimum, 15)
    assert run_setup("--accept-engine", "v3.0", code=1)["engine"] == "waiting"


def test_on_a_terminal_what_is_not_known_is_asked_until_it_can_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, default: str | None, *, hide_input: bool, show_default: bool, err: bool) -> str:
        asked.append((text, hide_input))
        return f" {next(typed)} "

    typed = iter(["abc", "607", "postgres:x@db", "postgresql://o:p@db/diva"])
    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setenv("PANCAKE_API_KEY", "of the environment")
    answers = replace(gather({"connection": "Diva 2"}, None, read_env_files(tmp_path)), is_terminal=True)
    answers.ask("hasura_url", "admin_secret", "api_key", "workspace", "connection", "owner_database_url")
    answers.ask("workspace")
    assert [(text.partition(",")[0], is_hidden) for text, is_hidden in asked] == [
        *[("Number of Pancake's workspace", False)] * 2,
        *[("Database URL of the owner of Diva's tables", True)] * 2,
    ]
    assert "workspace is no whole number" in capsys.readouterr().err
    known = [answers[name] for name in ("hasura_url", "api_key", "workspace", "connection", "api_url")]
    assert known == [
        GIVEN["HASURA_URL"], "of the environment", "607", "Diva 2", "https://crm.pancake.vn/api",
    ]  # fmt: skip
    with pytest.raises(WrongUsage, match=r"ops\.env has another HASURA_URL, which is never overwritten"):
        gather({"hasura_url": "http://other"}, None, read_env_files(tmp_path))["hasura_url"]


OFFERED = ("way", "project", "prometheus_url")


def test_on_a_terminal_some_answers_are_offered_and_may_be_left_out(tmp_path: Path) -> None:
    """Without its project named, the customer's next `hasura metadata apply` would remove our part."""
    for typed, known, said in (
        (
            ["docker", "compose", "none", str(tmp_path), "prometheus:9090", "http://prometheus:9090"],
            ("compose", str(tmp_path), "http://prometheus:9090"),
            ["it can be compose", "is no folder", "prometheus_url is not"],
        ),
        (["", "", ""], ("", "", ""), []),
    ):
        answers = replace(gather({}, None, read_env_files(tmp_path / "pancake")), is_terminal=True)
        with CliRunner().isolation(input="\n".join([*typed, ""])) as streams:
            answers.offer(*OFFERED)
            printed = streams[1].getvalue().decode()
        assert tuple(answers[name] for name in OFFERED) == known
        problems = ("it can be compose", "is no folder", "prometheus_url is not")
        assert [each for each in problems if each in printed] == said
    given = gather(dict(zip(OFFERED, ("systemd", "hasura", "http://p"), strict=True)), None, answers.files)
    replace(given, is_terminal=True).offer(*OFFERED)  # asks nothing: there is no input


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("workspace", "abc", "workspace is no whole number"),
        ("hasura_url", "hasura:8080", "hasura_url is not an http or https URL"),
        ("handlers_url", "http://a host", "handlers_url has a blank, a quote"),
        ("public_url", "http://crm.example.com", "public_url is http to a public host: use https"),
        ("jwt_secret", "k", "is not JSON"),
        ("api_url", "pancake", "'pancake' is not a base URL"),
    ],
)
def test_a_given_answer_that_cannot_be_right_is_refused_before_anything_is_asked(
    name: str, wrong: str, said: str, tmp_path: Path
) -> None:
    files = read_env_files(tmp_path)
    answers = replace(gather({name: wrong}, None, files), is_terminal=True)
    with pytest.raises(WrongUsage, match=said):
        prepare(answers, files, is_new=True)


def test_an_option_goes_before_what_is_remembered_and_a_run_that_fails_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path).write(read_env_files(tmp_path))
    (tmp_path / "answers.yaml").write_text("workspace: abc\n")
    files = read_env_files(tmp_path)
    with pytest.raises(WrongUsage, match="workspace is no whole number"):
        gather({}, None, files).ask("workspace")

    def fail(*_: object, **__: object) -> None:
        raise CommandFailed("A step failed.")

    monkeypatch.setattr("ops.setup.command.prepare", lambda given, *_, **__: Setup(given, files, files))
    monkeypatch.setattr("ops.setup.command.opened", fail)
    words = ["setup", "--folder", str(tmp_path), "--workspace", "607"]
    CliRunner().invoke(app, [*words, "--dry-run"])
    CliRunner().invoke(app, [*words, "--finish"])
    assert gather({}, None, files)["workspace"] == "abc"
    assert CliRunner().invoke(app, words).exit_code == 1
    assert gather({}, None, files)["workspace"] == "607"


def test_an_owners_database_that_is_away_is_named_by_its_variable() -> None:
    with pytest.raises(OwnerUnavailable) as caught:
        has_connection("postgresql://o:p@127.0.0.1:1/diva")
    text, code = describe_answer(caught.value)
    assert (code, "Check OWNER_DATABASE_URL" in text) == (ExitCode.UNREACHABLE, True)


@pytest.mark.slow("two logins, an engine that is restarted, an installation")
def test_rights_between_the_owner_and_the_engines_login_are_asked_for_before_anything_is_changed(
    customer: Customer,
) -> None:
    """As on a managed PostgreSQL: neither is a superuser, and Hasura's tables belong to its login."""
    owner, engine = f"{LOGINS}_owner", f"{LOGINS}_engine"
    logins = ROOT / "tests/support/managed_postgresql.sql"
    names = {"owner": owner, "engine": engine, "database": customer.database}
    customer.execute(logins.read_text().format(**names))
    customer.restart_engine_as(customer.url_as(engine, "x"))
    customer.write_answers(owner_database_url=customer.url_as(owner, "x"))
    before = customer.dump()

    customer.execute(f"GRANT {owner} TO {engine}")
    setup(code=1, says=[f"give the database URL of {engine}"])
    customer.execute(f"REVOKE {owner} FROM {engine}")
    refused = setup(code=1)
    assert not list(customer.pancake_folder.glob("*.env"))
    assert customer.dump() == before
    statements = r"Let the DBA run: (GRANT .*; ALTER DEFAULT .*?)\. Nothing was changed"
    found = re.search(statements, said_by(refused))
    assert found is not None, refused.output
    customer.execute(found[1])

    _check_statements_of_logins(customer)
    assert run_setup(code=1)["engine"] == "waiting"
    customer.add_lines_of_engine()
    assert set(run_setup().values()) <= DONE
    assert customer.query(
        "SELECT relowner::regrole::text, has_table_privilege('pancake_handlers', oid, 'INSERT'),"
        " relrowsecurity"
        " FROM pg_class WHERE oid = 'hdb_catalog.event_log'::regclass"
    ) == [(engine, True, True)]  # fmt: skip
    customer.hasura.stop()
    for role in (engine, owner):
        customer.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def _check_statements_of_logins(customer: Customer) -> None:
    """A login that may not create roles: the DBA gets each password as PostgreSQL stores it."""
    script = customer.pancake_folder / "for-the-dba.sql"
    setup(code=1, says=[f"Ask the DBA to run {Path('pancake') / script.name}"])
    text = script.read_text()
    assert "SCRAM-SHA-256" in text
    assert script.stat().st_mode & 0o777 == 0o600
    for file in ("handlers.env", "ops.env"):
        assert str(conninfo_to_dict(customer.values()[file]["DATABASE_URL"])["password"]) not in text
    customer.execute(text)


@pytest.mark.slow("a server with a certificate, and most of an installation")
def test_the_logins_verify_the_certificate_of_the_database_as_the_owner_does(
    customer: Customer, tmp_path: Path
) -> None:
    for name in ("server", "foreign"):
        (tmp_path / name).mkdir()
        write_certificate(tmp_path / name, "localhost")
    url = customer.database_url.replace("@127.0.0.1:", "@localhost:")
    tls = f"sslmode=verify-full&sslrootcert={tmp_path}"
    with tls_of(customer.cluster, tmp_path / "server"):
        customer.write_answers(owner_database_url=f"{url}?{tls}/foreign/fullchain.pem")
        setup(code=3, says=["certificate verify failed"])
        customer.write_answers(owner_database_url=f"{url}?{tls}/server/fullchain.pem")
        results = run_setup(code=1)
        assert (results["logins"], results["engine"]) == ("done", "waiting")
        for file, login in (("handlers.env", "handlers"), ("ops.env", "operators")):
            found = customer.values()[file]["DATABASE_URL"]
            assert found.endswith(f"?{tls}/server/fullchain.pem")
            with psycopg.connect(found) as db:
                assert (db.pgconn.ssl_in_use, db.info.user) == (True, f"{LOGINS}_{login}")


def prepared(customer: Customer, **changed: Any) -> EnvFiles:
    """What the files would hold with these answers."""
    files = read_env_files(customer.pancake_folder)
    return prepare(gather({}, customer.write_answers(**changed), files), files, is_new=True).files


def tokens_of(files: EnvFiles) -> tuple[str, str]:
    of_handlers = files.get("HASURA_SERVICE_TOKEN", "handlers.env")
    assert files.get("HASURA_SERVICE_TOKEN", "ops.env") == of_handlers
    return of_handlers, files.get("HASURA_EDGE_TOKEN", "edge.env")


def test_tokens_are_signed_with_a_private_key_or_come_from_elsewhere_and_the_engine_accepts_them(
    customer: Customer,
) -> None:
    """The engine has a public key. A token that it refuses is found before anything is written."""
    private, public = make_key_pair(customer.folder / "private.pem")
    make_key_pair(customer.folder / "other.pem")
    secret = {"type": "RS256", "key": public}
    customer.restart_engine_with({"HASURA_GRAPHQL_JWT_SECRET": json.dumps(secret)})
    signed = prepared(customer, jwt_secret=secret, jwt_private_key=str(private))
    for token, role in zip(tokens_of(signed), ROLES, strict=True):
        claims = jwt.decode(token, public, algorithms=["RS256"])["https://hasura.io/jwt/claims"]
        assert claims == {"x-hasura-default-role": role, "x-hasura-allowed-roles": [role]}
    service, edge = tokens_of(signed)
    other = str(customer.folder / "other.pem")
    for changed, said in (
        ({"jwt_secret": secret}, "--private-key FILE (of leads setup: --jwt-private-key)"),
        ({"jwt_secret": secret, "jwt_private_key": other}, "signed with this key (invalid-jwt)"),
        ({"service_token": edge, "edge_token": service}, "for the role pancake_service: access-denied"),
        ({"service_token": service, "edge_token": "e.e.e"}, "for the role pancake_edge: invalid-jwt"),
        ({"service_token": service}, "The engine's HASURA_GRAPHQL_JWT_SECRET"),
    ):
        with pytest.raises(WrongUsage, match=re.escape(said)):
            prepared(customer, **{"jwt_secret": None, **changed})
    given = prepared(customer, jwt_secret=None, service_token=service, edge_token=edge)
    assert tokens_of(given) == (service, edge)
    assert not customer.pancake_folder.exists()


def test_on_a_terminal_what_a_service_refuses_is_asked_again_and_no_answer_is_lost(
    customer: Customer,
) -> None:
    """In the order in which they are tried; the key that signs is a private one in the end."""
    private, public = make_key_pair(customer.folder / "private.pem")
    keys = {"HASURA_GRAPHQL_JWT_SECRET": json.dumps({"type": "RS256", "key": public})}
    customer.restart_engine_with(keys)
    known = customer.answers()
    asked = ("hasura_url", "admin_secret", "owner_database_url", "api_key", "jwt_secret")
    path = customer.write_answers(**dict.fromkeys(asked))
    files = read_env_files(customer.pancake_folder)
    answers = replace(gather({}, path, files), is_terminal=True)
    typed = [
        "http://127.0.0.1:1", "wrong", "postgresql://x@127.0.0.1:1/diva", known["hasura_url"],
        known["admin_secret"], known["owner_database_url"], known["api_key"], "", "", "",
        json.dumps({"type": "HS256", "key": "k" * 32}), keys["HASURA_GRAPHQL_JWT_SECRET"],
        str(customer.folder / "none.pem"), str(private),
    ]  # fmt: skip
    with CliRunner().isolation(input="\n".join(typed)) as streams:
        filled = prepare(answers, files, is_new=True).files
        said = streams[1].getvalue().decode()
    for problem in (
        "does not answer", "does not accept the admin secret", "port 1 failed", "signed with this key",
        "holds a public key", "No such file",
    ):  # fmt: skip
        assert said.lower().count(problem.lower()) == 1, said
    assert filled.get("HASURA_ADMIN_SECRET", "ops.env") == known["admin_secret"]
    assert jwt.decode(tokens_of(filled)[0], public, algorithms=["RS256"])
    assert known["admin_secret"] not in said


ROLES = ("pancake_service", "pancake_edge")


def make_key_pair(path: Path) -> tuple[Path, str]:
    """Write a private key; return its path and the public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, *plain))
    return path, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("password", ["plain", "a/b@c:d%20e?f#g", "mật khẩu"])
def test_a_login_of_a_url_is_read_as_postgresql_reads_it(password: str) -> None:
    """Else the setup would give a login another password than the services have."""
    url = url_of_login("postgresql://owner:o%2Fw@db.example:5433/diva?sslmode=require", "diva/x", password)
    read = conninfo_to_dict(url)
    wanted = {"user": "diva/x", "password": password, "host": "db.example", "port": "5433", "dbname": "diva"}
    assert {name: str(read[name]) for name in wanted} == wanted
    assert login_of(url) == ("diva/x", password)


OF_COMPOSE = {
    "way": "compose", "public_url": "https://crm.example.com", "handlers_url": "http://handlers:8080",
}  # fmt: skip


def values(folder: Path, **given: str) -> list[ValueFile]:
    """What setup writes beside the folder `pancake` of this one."""
    files = read_env_files(folder / "pancake")
    return value_files(gather(OF_COMPOSE | given, None, files), files.folder)


def values_step(folder: Path, **given: str) -> Step:
    """The step that writes it."""
    files = read_env_files(folder / "pancake")
    files.folder.mkdir(exist_ok=True)
    (step,) = value_steps(gather(given, None, files), files.folder)
    return step


def test_values_of_compose_follow_the_version_until_a_person_changes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = values(tmp_path)
    assert file.look().state is State.ABSENT
    file.write()
    assert (file.path, file.path.stat().st_mode & 0o777) == (tmp_path / ".env", 0o600)
    assert file.look().state is State.DONE
    (tmp_path / "compose.production.yaml").touch()
    images, address = "registry.example.com/pancake", "http://10.0.0.5:8080"
    (newer,) = values(tmp_path, image_tag="0.2.0", images=images, handlers_url=address)
    assert newer.look() == Found(State.PARTIAL, f"{newer.path} is of another version, or of other answers")
    newer.write()
    assert newer.path.read_text().splitlines()[1:] == [
        "PANCAKE_IMAGES=registry.example.com/pancake", "VERSION=0.2.0", "PUBLIC_HOST=crm.example.com",
        "HANDLERS_PUBLISH=10.0.0.5:8080", "COMPOSE_FILE=compose.production.yaml",
    ]  # fmt: skip
    text = newer.path.read_text().replace("0.2.0", "0.1.9") + "EDGE_WORKERS=4\n"
    newer.path.write_text(text)
    assert newer.look() == Found(
        State.DONE,
        f"{newer.path} was changed by a person, and stays; for this version it lacks: VERSION=0.2.0",
    )
    environment = subprocess.run(
        [ROOT / "scripts/read_env", newer.path], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert "EDGE_WORKERS=4" in environment.replace("'", ""), "scripts/leads reads it where it is a clone's"


def test_an_env_file_of_others_is_left_and_what_it_lacks_is_added_by_hand(tmp_path: Path) -> None:
    """Without COMPOSE_FILE the second command would start the clone's compose.yaml with its stand-ins."""
    (tmp_path / "compose.production.yaml").touch()
    (tmp_path / ".env").write_text("VERSION=0.0.1\n")
    step = values_step(tmp_path, **OF_COMPOSE)
    site: Any = None
    assert (step.check(site).state, step.do(site)) == (State.PARTIAL, [])
    lines = "PANCAKE_IMAGES=pancake-diva · PUBLIC_HOST=crm.example.com · COMPOSE_FILE=compose.production.yaml"
    assert f"Add these lines: {lines} (" in step.check(site).text
    with (tmp_path / ".env").open("a") as file:
        file.write(lines.replace(" · ", "\n"))
    assert step.check(site).state is State.DONE


def test_values_of_which_a_stop_left_a_part_are_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site: Any = None
    replace_file = Path.replace

    def stop_at_the_second(path: Path, target: Path) -> Path:
        if target.name == "engine.yaml":
            raise KeyboardInterrupt
        return replace_file(path, target)

    step = values_step(tmp_path, way="kubernetes", engine_namespace="diva", engine_app="hasura")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            step.do(site)[0].run()
    assert [path.name for path in tmp_path.glob("*.yaml")] == ["kustomization.yaml"]
    assert step.check(site).state is State.PARTIAL
    assert step.do(site)[0].run()[0] == 0
    assert step.check(site).state is State.DONE
    assert not list(tmp_path.rglob("*.partial"))


def test_the_tag_of_the_images_is_remembered_with_the_values(tmp_path: Path) -> None:
    """A run without the answers file would set VERSION back."""
    for tag in ("0.2.0", "0.3.0"):
        site: Any = None
        (action,) = values_step(tmp_path, **OF_COMPOSE, image_tag=tag).do(site)
        assert action.run()[0] == 0
        assert gather({}, None, read_env_files(tmp_path / "pancake"))["image_tag"] == tag


def test_compose_reads_one_folder_only(tmp_path: Path) -> None:
    assert "pancake/handlers.env" in (ROOT / "compose.production.yaml").read_text()
    run = CliRunner().invoke(app, ["setup", "--way", "compose", "--folder", str(tmp_path / "other")])
    assert (run.exit_code, "reads the folder pancake" in run.stderr) == (2, True), run.output


def test_in_a_cluster_the_edge_is_asked_at_its_service(tmp_path: Path) -> None:
    files = read_env_files(tmp_path)
    found = {way: gather({"way": way}, None, files)["edge_status_url"] for way in ("systemd", "kubernetes")}
    assert found == {
        "systemd": "http://127.0.0.1:9145",
        "kubernetes": "http://edge.pancake-diva.svc.cluster.local:9145",
    }


def test_a_way_has_its_values_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    assert (values(tmp_path, way=""), values(tmp_path, way="systemd")) == ([], [])
    names = [file.path.name for file in values(tmp_path, way="kubernetes", engine_namespace="diva")]
    assert names == ["kustomization.yaml", "engine.yaml"]
    with pytest.raises(WrongUsage, match="PANCAKE_IMAGES has a blank, a quote"):
        values(tmp_path, images="a b")
