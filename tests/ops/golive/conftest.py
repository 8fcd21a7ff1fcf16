"""The keys with which the tests of the go-live sign."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from ops import settings
from ops.clients.db_session import DbSession
from tests.support.golive import signing_variables


@pytest.fixture
def open_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let W1 begin without the services that its entry asks: tests/ops/golive/test_precheck.py asks them."""
    monkeypatch.setattr("ops.golive.evaluation.entry_criteria", list)


@pytest.fixture
def session(database: str) -> Iterator[DbSession]:
    """A session that is rolled back."""
    with psycopg.Connection[dict[str, Any]].connect(database, row_factory=dict_row) as opened:
        yield opened
        opened.rollback()


@pytest.fixture(scope="session", autouse=True)
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One key may state everything, another signs as the pipeline. Git is asked once for the commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "_commit_of_clone", cache(settings._commit_of_clone))
        for name, value in signing_variables(tmp_path_factory.mktemp("keys")).items():
            patch.setenv(name, value)
        yield
