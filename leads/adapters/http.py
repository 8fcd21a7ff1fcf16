"""The one map from what went wrong to what Hasura is told.

To Hasura 503 means "nothing was claimed, deliver it again"; a 4xx is for people to read in the console. The
body always is JSON with `message` and `extensions.code`: anything else reaches a client of an action as
"not a valid json response from webhook".
"""

from leads.domain.errors import IntegrationError, Refused, Retryable, Unavailable


def answer_for(error: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
    """Status, body and headers for an exception that reached the edge of the application."""
    if not isinstance(error, IntegrationError):
        return 500, _body("internal error", "internal"), {}
    if isinstance(error, Refused):
        return error.status, _body(str(error), error.code), {}
    if isinstance(error, Retryable):
        retry_after = error.retry_after if isinstance(error, Unavailable) else None
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        return 503, _body(str(error), error.code), headers
    return 422, _body(str(error), error.code), {}


def _body(message: str, code: str) -> dict[str, object]:
    return {"message": message, "extensions": {"code": code}}
