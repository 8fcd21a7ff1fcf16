"""`leads config show`: what is set and from where, and no secret."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from leads.adapters.variables import PLAIN_VARIABLES, VARIABLES
from leads.cli.__main__ import app

PASSWORD = "password-of-the-test"
SECRETS = {
    "ENCRYPTION_KEYS": f"k1:{'A' * 43}=",
    "HASURA_ADMIN_SECRET": "admin-secret-of-the-test",
    "HANDLER_SECRET": "handler-secret-of-the-test-32-characters",
    "HANDLER_SECRET_PREVIOUS": "previous-secret-of-the-test-32-characters",
    "HASURA_SERVICE_TOKEN": "eyJ.token.of-the-test",
}
ENVIRONMENT = {
    **dict.fromkeys([*VARIABLES, *PLAIN_VARIABLES], ""),
    "DATABASE_URL": f"postgresql://diva:{PASSWORD}@127.0.0.1:5432/diva?sslpassword={PASSWORD}",
    "HASURA_URL": f"http://user:{PASSWORD}@127.0.0.1:8080",
    "LEADS_ENV_FILE_NAMES": "HASURA_URL HANDLER_SECRET",
    **SECRETS,
}


def show(*options: str, **variables: str) -> Result:
    return CliRunner().invoke(app, ["config", "show", *options], env={**ENVIRONMENT, **variables})


def shown(**variables: str) -> dict[str, dict[str, Any]]:
    result = show("--json", **variables)
    return {each["name"]: each for each in json.loads(result.stdout)["variables"]}


def test_no_secret_and_no_password_is_shown() -> None:
    for output in (show().output, show("--json").output):
        for secret in (PASSWORD, *SECRETS.values()):
            assert secret not in output


def test_each_variable_says_where_it_is_from() -> None:
    found = shown()
    assert found["DATABASE_URL"] == {
        "name": "DATABASE_URL", "from": "environment", "value": "postgresql://diva:…@127.0.0.1:5432/diva",
    }  # fmt: skip
    assert (found["HASURA_URL"]["from"], found["HASURA_URL"]["value"]) == (
        ".env",
        "http://user:…@127.0.0.1:8080",
    )
    assert (found["HANDLER_SECRET"]["from"], found["HANDLER_SECRET"]["value"]) == (".env", "set")
    assert (found["PUBLIC_URL"]["from"], found["PUBLIC_URL"]["value"]) == ("-", "not set")
    assert (found["PANCAKE_API_HOSTS"]["from"], found["PANCAKE_API_HOSTS"]["value"]) == (
        "default",
        "crm.pancake.vn",
    )
    assert found.keys() >= VARIABLES.keys() | PLAIN_VARIABLES.keys()


def test_what_is_no_url_is_not_shown() -> None:
    assert shown(HANDLERS_URL=f"{PASSWORD}@host")["HANDLERS_URL"]["value"] == "set, and not a URL"


def test_an_invalid_value_is_named_and_exits_with_1() -> None:
    result = show("--json", HASURA_URL="ftp://hasura")
    assert result.exit_code == 1
    assert "HASURA_URL is not an http or https URL" in json.loads(result.stdout)["problems"][0]
    assert show().exit_code == 0


def test_it_fits_into_80_columns() -> None:
    assert max(map(len, show(COLUMNS="80").stdout.splitlines())) <= 80
