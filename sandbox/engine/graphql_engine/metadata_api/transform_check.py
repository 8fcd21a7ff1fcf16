"""Refuse transforms whose templates cannot be parsed, before they are stored.

Facts: recorded answers of a genuine engine of v2.48.10.
"""

from graphql_engine.errors import QErr
from graphql_engine.kriti import KritiError
from graphql_engine.metadata.access import Json
from graphql_engine.webhooks.transforms import parse_templates


def check_transforms(holder: Json) -> None:
    """Check the transforms of an action or a trigger. Raises QErr `validation-failed`."""
    for side in ("request", "response"):
        try:
            parse_templates(holder.get(f"{side}_transform"))
        except KritiError as error:
            raise invalid_transform(side, error) from error


def invalid_transform(side: str, error: KritiError) -> QErr:
    """Return the error for a template of a `request` or `response` transform."""
    return QErr("validation-failed", f"{side} transform validation failed", internal=[error.shown()])
