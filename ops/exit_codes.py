"""The exit codes of every verb."""

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.FAILED: "the check or the work failed, or work is left",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.UNREACHABLE: "a service could not be reached",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}
"""130 is 128 + SIGINT, as shells report it."""
