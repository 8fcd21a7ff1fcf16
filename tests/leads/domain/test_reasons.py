"""Reasons are words that an operator understands, and quote nothing of a file."""

import json

import httpx
import psycopg
import pytest

from leads.domain.reasons import connection_reason, file_reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(), "it cannot be read"),
        (UnicodeDecodeError("utf-8", b"0905\xff", 4, 5, "invalid start byte"), "it is not UTF-8 text"),
        (json.JSONDecodeError("Expecting value", "0905111222", 0), "its format is wrong"),
        (KeyError("0905111222"), "a part of it is missing or of another kind"),
    ],
)
def test_the_reason_of_a_file_is_in_words(error: Exception, words: str) -> None:
    assert file_reason(error) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "Name or service not known"),
        (httpx.ReadTimeout("timed out"), "timed out"),
        (
            psycopg.OperationalError("the connection is lost\nDETAIL: it quotes a row"),
            "the connection is lost",
        ),
        (httpx.ReadTimeout(""), "no answer in time, or the connection broke"),
    ],
)
def test_the_reason_of_a_connection_is_in_words(error: Exception, words: str) -> None:
    assert connection_reason(error) == words
