"""The errors of the integration, as one tree. An exception's docstring is its message unless one is given.

`code` is the machine-readable name in answers, in the column `error_code` and in metrics.
"""

import inspect


class IntegrationError(Exception):
    """The integration failed."""

    code = "internal"

    def __init__(self, message: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)))
        if code is not None:
            self.code = code


class Retryable(IntegrationError):
    """The attempt failed and may be repeated later."""

    code = "retryable"


class Unavailable(Retryable):
    """The service cannot process this now; nothing was changed."""

    code = "unavailable"
    retry_after_seconds: int | None = None


class DatabaseUnavailable(Unavailable):
    """The database does not answer; nothing was changed."""

    code = "database_unavailable"


class Overloaded(Unavailable):
    """Too many requests are waiting; nothing was changed."""

    code = "overloaded"


class Stopping(Unavailable):
    """The process ends before this was done; deliver it again."""

    code = "stopping"


class ProcessingPaused(Unavailable):
    """Processing is paused by the setting processing_paused; the row stays received."""

    code = "processing_paused"
    retry_after_seconds = 60


class Deferred(Unavailable):
    """Other events of the backlog come first; the row stays received."""

    code = "deferred"
    retry_after_seconds: int

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class Claimed(Deferred):
    """Another delivery has claimed the event: if it dies, this one takes the event over."""

    code = "claimed"


class Contended(Retryable):
    """The transaction lost against a concurrent one or its connection broke."""

    code = "contended"


class HasuraUnavailable(Retryable):
    """Hasura did not answer as expected."""

    code = "hasura_unavailable"


class HasuraRefused(HasuraUnavailable):
    """Hasura, or a service behind it, refused the request."""

    code = "hasura_refused"


class HasuraUncertain(HasuraUnavailable):
    """Hasura gave no valid answer in time: what it was asked may be done or not."""

    code = "hasura_uncertain"


class PancakeUnavailable(Retryable):
    """Pancake's API does not answer as expected."""

    code = "pancake_unavailable"

    def __init__(self, message: str | None = None, *, retry_after_seconds: float = 0.0) -> None:
        """`retry_after_seconds`: how long Pancake asked to be left alone; 0 if it named no time."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PancakeBusy(PancakeUnavailable):
    """Pancake answered 429: too many requests with one key. It answers others."""


class PancakeRefused(IntegrationError):
    """Pancake refused a request that is wrong on our side; `status` is its HTTP status."""

    code = "pancake_refused"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class PancakeKeyRejected(PancakeRefused):
    """Pancake rejected the API key or its rights: 401, 403, or 200 with `success: false`."""

    code = "pancake_key_rejected"


class Misconfigured(IntegrationError):
    """The configuration does not fit what is stored."""

    code = "misconfigured"


class SecretUnreadable(Misconfigured):
    """A stored secret cannot be opened with ENCRYPTION_KEYS; the message names the key's id."""

    code = "secret_unreadable"


class HostNotAllowed(Misconfigured):
    """A connection's base URL is not one that may get an API key."""

    code = "host_not_allowed"


class Final(IntegrationError):
    """The input cannot be processed as it is."""

    code = "final"


class InvalidBody(Final):
    """The delivered body is not a strict JSON object."""

    code = "invalid_json"


class InvalidPhone(Final):
    """The record has no usable phone number; `is_missing`: none was typed."""

    code = "invalid_phone"

    def __init__(self, message: str | None = None, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


class Refused(IntegrationError):
    """The request was refused."""

    code = "bad_request"
    status = 400


class BadRequest(Refused):
    """The request body is not what Hasura sends to this route."""


class UnknownTrigger(Refused):
    """This route does not serve that trigger."""

    code = "unknown_trigger"


class InClearText(Refused):
    """The call came in clear text from a public address: use TLS, or ALLOW_CLEAR_TEXT=handlers."""

    code = "clear_text"
    status = 403


class Unauthorized(Refused):
    """The handler secret is missing or wrong."""

    code = "unauthorized"
    status = 401


class KillSwitchOn(Refused):
    """The kill switch is on: turn it off before anything is replayed."""

    code = "kill_switch_on"
    status = 409


class Busy(Refused):
    """Other work holds these rows at the moment: try again in a few seconds."""

    code = "busy"
    status = 409


def code_of(error: Exception) -> str:
    """Return the code of an error; that of any foreign exception is `internal`."""
    return error.code if isinstance(error, IntegrationError) else IntegrationError.code
