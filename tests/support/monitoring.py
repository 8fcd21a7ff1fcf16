"""Tests with the programs of Prometheus and Alertmanager: skipped without them, but not where CI is set."""

import os

import pytest

from sandbox.incidents.prometheus import missing_monitoring

MISSING = missing_monitoring()
needs_monitoring = pytest.mark.skipif(
    bool(MISSING) and "CI" not in os.environ, reason=f"needs these packages of Debian: {' '.join(MISSING)}"
)
