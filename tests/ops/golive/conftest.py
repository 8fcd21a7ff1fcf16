"""The keys with which the tests of the go-live sign."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.clients.signing import signer_of
from tests.support.golive import signing_variables


@pytest.fixture
def open_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let W1 begin without the services that its entry asks: tests/ops/golive/test_precheck.py asks them."""
    monkeypatch.setattr("ops.golive.gates.entry_criteria", list)


@pytest.fixture(scope="session", autouse=True)
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One key may state everything, another signs as the pipeline.

    What was verified once by this process is not verified again: each command reads all records.
    """
    known: dict[tuple[object, ...], str] = {}

    def signer_once(signers: Path, *given: Any) -> str:
        key = (signers.read_bytes() if signers.is_file() else None, *given)
        if key not in known:
            known[key] = signer_of(signers, *given)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.golive.records.signer_of", signer_once)
        for name, value in signing_variables(tmp_path_factory.mktemp("keys")).items():
            patch.setenv(name, value)
        yield
