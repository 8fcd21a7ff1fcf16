"""What the console asks at each keystroke in the form of a trigger or an action: what would be sent.

Facts: recorded answers of a genuine engine of v2.48.10. The console asks with a transform that changes
nothing; without values for the variables of the URL the answer says which one is missing.
"""

from typing import Any

from graphql_engine.changes import Context
from graphql_engine.errors import QErr, unsupported
from graphql_engine.metadata.access import Json, required
from graphql_engine.metadata_api.registry import command
from graphql_engine.webhooks.call import TEMPLATE

CONTEXT = (
    "https://hasura.io/docs/latest/graphql/core/actions/rest-connectors/#action-transforms-sample-context"
)


@command("test_webhook_transform", changes=False)
async def try_transform(_: Context, args: Json) -> Json:
    """Name the first variable that the request has no value for; refuse to execute the transform."""
    webhook, given = required(args, "webhook_url"), args.get("env") or {}
    names = [str(required(webhook, "from_env"))] if isinstance(webhook, dict) else TEMPLATE.findall(webhook)
    for name in names:
        if name not in given:
            raise _missing(name)
    required(args, "body")
    required(args, "request_transform")
    raise unsupported("request_transform")


def _missing(name: Any) -> QErr:
    return QErr(
        "not-found",
        f"Missing Env Var: {name}. For security reasons when testing request options real environment"
        " variable values are not available. Please enter a mock value for"
        f" {name} in the Sample Env Variables list. See {CONTEXT}",
    )
