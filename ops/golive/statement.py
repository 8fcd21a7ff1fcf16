"""The signed statement of a report: an in-toto Statement, whose subjects are hashes of files.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.failures import CommandFailed

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:pancake-diva:golive:v1"
EVIDENCE = "evidence/"


class StatementError(CommandFailed):
    """A signed payload is not the statement of a report."""


@dataclass(frozen=True, slots=True)
class SignedReport:
    """What was signed: the SHA-256 of each subject by its name, and what the report is of."""

    subjects: Mapping[str, str]
    gate: str
    at: datetime
    commit: str
    is_open: bool
    records: int


def statement_bytes(report: SignedReport) -> bytes:
    """Return the statement as canonical JSON."""
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(report.subjects.items())
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "gate": report.gate,
            "at": report.at.isoformat(),
            "commit": report.commit,
            "is_open": report.is_open,
            "records": report.records,
        },
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def read_statement(payload: bytes) -> SignedReport:
    """Read a signed statement. Raises StatementError."""
    try:
        document: Mapping[str, Any] = json.loads(payload)
        if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError("another type")
        predicate = document["predicate"]
        return SignedReport(
            subjects={each["name"]: each["digest"]["sha256"] for each in document["subject"]},
            gate=predicate["gate"],
            at=datetime.fromisoformat(predicate["at"]),
            commit=predicate["commit"],
            is_open=predicate["is_open"],
            records=predicate["records"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StatementError("What was signed is not the statement of a report of leads golive.") from error


def digest_of(content: bytes) -> str:
    """Return the SHA-256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
