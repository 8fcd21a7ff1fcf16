"""The keys with which the tests of the go-live sign."""

from collections.abc import Iterator

import pytest

from tests.support.golive import signing_variables


@pytest.fixture
def open_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let W1 begin without the services that its entry asks: tests/ops/golive/test_precheck.py asks them."""
    monkeypatch.setattr("ops.golive.gates.entry_criteria", list)


@pytest.fixture(scope="session", autouse=True)
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One key may state everything, another signs as the pipeline."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in signing_variables(tmp_path_factory.mktemp("keys")).items():
            patch.setenv(name, value)
        yield
