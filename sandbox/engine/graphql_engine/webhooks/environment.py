"""Values from the engine's environment: `{{VAR}}` templates, `from_env`, headers with `value_from_env`."""

import re
from collections.abc import Mapping
from typing import Any

from graphql_engine.errors import QErr

# {{VARIABLE}}, spaces inside the braces allowed
TEMPLATE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


def fill_template(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `{{VAR}}`. Raises QErr `not-found` naming the unset variables."""
    missing = [name for name in TEMPLATE.findall(text) if name not in environment]
    if missing:
        raise QErr("not-found", f"Value for environment variables not found: {', '.join(missing)}")
    return TEMPLATE.sub(lambda match: environment[match.group(1)], text)


def from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return one variable. Raises QErr `not-found` if it is not set."""
    if name not in environment:
        raise QErr("not-found", f"environment variable '{name}' not set")
    return environment[name]


def resolve_headers(
    headers: list[dict[str, Any]] | None, environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return configured headers with their values. Raises QErr `not-found` for an unset variable."""
    resolved = []
    for header in headers or []:
        if "value_from_env" in header:
            resolved.append((header["name"], from_environment(header["value_from_env"], environment)))
        else:
            resolved.append((header["name"], fill_template(str(header["value"]), environment)))
    return resolved


def resolve_webhook(trigger: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """Return the URL of an event trigger (`webhook` or `webhook_from_env`)."""
    if trigger.get("webhook_from_env"):
        return from_environment(trigger["webhook_from_env"], environment)
    return fill_template(str(trigger["webhook"]), environment)


def environment_problems(
    metadata: Mapping[str, Any], environment: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return every object of the metadata with an unset variable, as (object, reason)."""
    problems: list[tuple[str, str]] = []

    def attempt(place: str, action: Any) -> None:
        try:
            action()
        except QErr as error:
            problems.append((place, error.message))

    for source in metadata.get("sources", []):
        for table in source["tables"]:
            for trigger in table.get("event_triggers", []):
                place = f"event trigger {trigger['name']!r}"
                attempt(place, lambda t=trigger: resolve_webhook(t, environment))
                attempt(place, lambda t=trigger: resolve_headers(t.get("headers"), environment))
    for trigger in metadata.get("cron_triggers", []):
        place = f"cron trigger {trigger['name']!r}"
        attempt(place, lambda t=trigger: fill_template(t["webhook"], environment))
        attempt(place, lambda t=trigger: resolve_headers(t.get("headers"), environment))
    for action in metadata.get("actions", []):
        place, definition = f"action {action['name']!r}", action["definition"]
        attempt(place, lambda d=definition: fill_template(d["handler"], environment))
        attempt(place, lambda d=definition: resolve_headers(d.get("headers"), environment))
    return problems
