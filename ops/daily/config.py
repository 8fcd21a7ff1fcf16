"""`leads config`: which variables are set, and from where; no secret is shown."""

from urllib.parse import urlsplit, urlunsplit

from rich.console import Console
from rich.table import Column, Table

from leads.adapters.settings import SettingsError
from ops.failures import fail_if
from ops.output import AsJson, escape_unseen, examples, print_result, say, verb_group
from ops.settings import PLAIN_VARIABLES, VARIABLES, read_operator_settings, read_variable

FROM_FILE = "LEADS_ENV_FILE_NAMES"
"""scripts/leads names here the variables that it read from .env."""
DATABASES = ("DATABASE_URL", "METADATA_DATABASE_URL")
URLS = (
    "HASURA_URL", "HANDLERS_URL", "EDGE_STATUS_URL", "ALERTMANAGER_URL", "PROMETHEUS_URL", "PUBLIC_URL",
)  # fmt: skip
PREVIOUS = {f"{name}_PREVIOUS": "" for name in ("HANDLER_SECRET", "EDGE_SECRET")}
UNTIL = {f"{name}_UNTIL": "" for name in PREVIOUS}

app = verb_group(
    "Show the configuration that the commands use.",
    "Secrets are shown as set or not set.",
    examples("config show", "config show --json"),
)


@app.command(epilog=examples("config show", "config show --json"))
def show(as_json: AsJson = False) -> None:
    """Show each variable, its value, and whether it is from the environment, .env, or the default.

    Of a secret only whether it is set, of a database URL not the password. Exit code 1: a value is invalid.
    """
    shown = describe()
    problems: tuple[str, ...] = ()
    try:
        read_operator_settings(may_have=VARIABLES)
    except SettingsError as error:
        problems = error.problems
    print_result({"variables": shown, "problems": problems}, lambda: _print(shown, problems), as_json=as_json)
    fail_if(problems)


def _print(shown: list[dict[str, str]], problems: tuple[str, ...]) -> None:
    table = Table("variable", "from", Column("value", overflow="fold"), box=None, pad_edge=False)
    for each in shown:
        table.add_row(each["name"], each["from"], escape_unseen(each["value"]))
    Console(markup=False).print(table)
    for problem in problems:
        say(problem)


def describe() -> list[dict[str, str]]:
    from_file = read_variable(FROM_FILE).split()
    defaults = {**dict.fromkeys(VARIABLES, ""), **PREVIOUS, **UNTIL, **PLAIN_VARIABLES}
    shown = []
    for name, default in defaults.items():
        value = read_variable(name).strip()
        origin = ".env" if name in from_file else "environment" if value else "default" if default else "-"
        shown.append({"name": name, "from": origin, "value": mask(name, value) or default or "not set"})
    return shown


def mask(name: str, value: str) -> str:
    if not value or name in PLAIN_VARIABLES or name in UNTIL:
        return value
    if name in (*DATABASES, *URLS):
        return _without_password(value)
    return "set"


def _without_password(url: str) -> str:
    """Return scheme, user, host, port and path: a password may also stand in the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or not parts.netloc:
        return "set, and not a URL"
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit((parts.scheme, f"{name}:…@{host}" if user else host, parts.path, "", ""))
