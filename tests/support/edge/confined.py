"""Run the edge under the filter of system calls of its systemd unit, without systemd."""

import ctypes
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sandbox.edge.nginx import DEPLOY

UNIT = DEPLOY / "pancake-edge.service"
LIBRARY = "libseccomp.so.2"
ALLOW = 0x7FFF0000
REFUSE_WITH_EPERM = 0x00050001
UNKNOWN_CALL = -1
"""What libseccomp answers for a system call of another architecture or of a newer kernel."""


def allowed_calls(unit: str) -> set[str]:
    """Return the system calls that the unit's SystemCallFilter lines allow, as systemd reads them."""
    allowed: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.+)$", unit, re.MULTILINE):
        calls = {call for name in value.removeprefix("~").split() for call in _expand(name)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def write_filter(path: Path, calls: Sequence[str]) -> None:
    """Write a filter for the kernel that allows these calls and answers EPERM to all others."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE_WITH_EPERM)))
    try:
        for call in calls:
            number = library.seccomp_syscall_resolve_name(call.encode())
            if number != UNKNOWN_CALL:
                assert library.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0) == 0, call
        with path.open("wb") as file:
            assert library.seccomp_export_bpf(context, file.fileno()) == 0
    finally:
        library.seccomp_release(context)
    path.chmod(0o644)


def _expand(name: str) -> set[str]:
    """Return the calls of a set of systemd's, with those of the sets in it; a call is a set of itself."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    members = [line.strip() for line in listed.splitlines()[1:]]
    return {call for member in members if member and not member.startswith("#") for call in _expand(member)}
