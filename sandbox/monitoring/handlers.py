"""The handlers of an observed sandbox: they look at database and Hasura as often as the factor needs.

They answer a scrape as much earlier as it ends earlier: a scrape that fails would end every alert.
"""

import os
from functools import partialmethod

from starlette.applications import Starlette

import app
from leads.services import metrics, readiness
from leads.services.readiness import Readiness

FACTOR = "OBSERVE_FACTOR"
MIN_AGE_SECONDS = 1.0


def create_app() -> Starlette:
    """Create the application, configured by the environment and by OBSERVE_FACTOR."""
    factor = float(os.environ[FACTOR])
    ages = metrics.MAX_AGE_SECONDS
    ages.update({pace: max(MIN_AGE_SECONDS, age / factor) for pace, age in ages.items()})
    setattr(metrics, "ANSWER_WITHIN_SECONDS", metrics.ANSWER_WITHIN_SECONDS / factor)  # noqa: B010
    setattr(metrics, "RETRY_SECONDS", max(MIN_AGE_SECONDS, metrics.RETRY_SECONDS / factor))  # noqa: B010
    watch_seconds = max(MIN_AGE_SECONDS, readiness.MAX_AGE_SECONDS / factor)
    watching = partialmethod(Readiness.__init__, max_age_seconds=watch_seconds)
    setattr(Readiness, "__init__", watching)  # noqa: B010
    return app.create_app()
