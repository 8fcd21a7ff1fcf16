"""The reason of a failure in words, for a message to people: without the name of a Python class."""

import re

# How Python begins the text of an error of the operating system, for example "[Errno 111] ".
_ERROR_NUMBER = re.compile(r"\[Errno -?\d+\] ?")


def file_reason(error: Exception) -> str:
    """Say why a file, or an answer, cannot be used; nothing of its content is quoted."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, ValueError):
        return "its format is wrong"
    return "a part of it is missing or of another kind"


def connection_reason(error: Exception) -> str:
    """Say why a server does not answer: the first line of the error, for what follows quotes or explains."""
    lines = _ERROR_NUMBER.sub("", str(error)).strip().splitlines()
    return lines[0] if lines else "no answer in time, or the connection broke"
