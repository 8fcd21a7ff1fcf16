"""Map psycopg's transient errors (conflicts, lost connections) to those of leads.domain.errors."""

import psycopg
from psycopg import errors

from leads.domain.errors import Contended, DatabaseUnavailable

CONTENDED = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.IdleInTransactionSessionTimeout,
)


class translated:
    """Raise Contended for a conflict and `lost` for a lost connection; other errors pass unchanged."""

    def __init__(self, lost: type[Contended] | type[DatabaseUnavailable]) -> None:
        self._lost = lost

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CONTENDED):
            raise Contended(type(error).__name__) from error
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise self._lost from error
