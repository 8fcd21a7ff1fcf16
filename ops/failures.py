"""Failures of verbs: exit codes, one message on stderr, and reasons in words."""

import json
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from ops.output import print_line, say

LINE_LENGTH = 80
Found = TypeVar("Found")
AS_JSON = "--json"
NO_REASON = "no reason was given"
# How Python begins the text of an error of the operating system, for example "[Errno 111] ".
_ERROR_NUMBER = re.compile(r"\[Errno -?\d+\] ?")


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.FAILED: "the check or the work failed, or work is left",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.UNREACHABLE: "a service could not be reached",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}
"""130 is 128 + SIGINT, as shells report it."""


class CommandFailed(Exception):
    """The work of a verb failed; the message says what happened and what to do next."""

    exit_code = ExitCode.FAILED


class WrongUsage(CommandFailed):
    """The arguments do not fit together or do not fit the installation."""

    exit_code = ExitCode.USAGE


def only_one(found: Mapping[str, Found], kind: str, name: str, otherwise: str) -> Found:
    """Return the only value, of those that a name or an id fits, by their ids. Raises WrongUsage.

    `otherwise` says what to do if there is none.
    """
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise WrongUsage(f"Several {kind}s are {name!r}. Choose one by its id: {', '.join(found)}")
    raise WrongUsage(f"There is no {kind} {name!r}. {otherwise}")


class VerbGroup(TyperGroup):
    """The group of all verbs. What a verb raises ends the command with a message instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        as_json = AS_JSON in ctx.args
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("Interrupted.", ExitCode.INTERRUPTED)
        except CommandFailed as error:
            fail(str(error), error.exit_code, as_json=as_json)
        except typer.BadParameter as error:
            # Only now, as below: it imports the library that checks values.
            from ops.error_texts import describe_value

            error.message = describe_value(error)
            if as_json:
                print_failure(error.format_message(), ExitCode.USAGE)
            raise
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            # Only now: it knows the errors of every adapter, and so imports all of their libraries.
            from ops.error_texts import describe

            described = describe(error)
            if described is None:
                raise
            fail(*described, as_json=as_json)


def fail_if(is_bad: object) -> None:
    """End with exit code 1 if the result that a verb has printed is a bad one."""
    if is_bad:
        raise typer.Exit(ExitCode.FAILED)


def fail(message: str, exit_code: ExitCode, *, as_json: bool = False) -> NoReturn:
    """Print the message, with `as_json` also as a document on stdout, and end with the code."""
    if as_json:
        print_failure(message, exit_code)
    say(message)
    raise typer.Exit(exit_code)


def print_failure(message: str, exit_code: ExitCode) -> None:
    """Print a failure for programs, in one line: `leads tail --json` has printed lines before."""
    document = {"error": message, "exit_code": int(exit_code)}
    print_line(json.dumps(document, ensure_ascii=False))


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


def first_line(error: Exception) -> str:
    """Return the first line of an error: in the others PostgreSQL quotes the values of the row."""
    return (str(error).strip().splitlines() or [NO_REASON])[0]
