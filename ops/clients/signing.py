"""Sign content, and say who signed one, with `ssh-keygen -Y` (its manual page, ALLOWED SIGNERS)."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from leads.domain.errors import Misconfigured
from ops.files import digest_of

PROGRAM = ("env", "TZ=UTC", "LC_ALL=C", "ssh-keygen", "-Y")
"""Without TZ a time in the file of the signers would mean another moment on each machine."""
SECONDS = 120.0
"""A person may have to enter a passphrase, or touch a key."""
_SIGNERS: dict[tuple[str, ...], str] = {}
"""Who signed what, as found by this process: each command reads all records, some of them twice."""
_LATEST: dict[tuple[str, ...], str] = {}
"""The last of them by the digest of the allowed signers, and the namespace."""


class SignatureRefused(Exception):
    """A signature is not valid, or its key may not sign this; the message says which."""


def sign(key: Path, namespace: str, contents: Sequence[bytes]) -> list[bytes]:
    """Return a signature of each content; a passphrase is asked for once.

    `key` is a private key, or the public key of one that an agent holds. Raises Misconfigured.
    """
    with TemporaryDirectory(prefix="golive-") as folder:
        files = [Path(folder) / str(number) for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        done = _run("sign", "-f", str(key), "-n", namespace, *map(str, files))
        if done.returncode:
            raise Misconfigured(f"{key} cannot sign as {namespace}: {_reason(done)}")
        return [file.with_name(f"{file.name}.sig").read_bytes() for file in files]


def signer_of(signers: Path, namespace: str, content: bytes, signature: bytes, at: datetime) -> str:
    """Return who signed: a name in the file `signers` whose key could sign in this namespace at that time.

    The file is read once: both questions are of the same one. Raises SignatureRefused.
    """
    allowed = signers.read_bytes() if signers.is_file() else b""
    time = f"{at.astimezone(UTC):%Y%m%d%H%M%S}"
    key = (digest_of(allowed), namespace, digest_of(content), digest_of(signature), time)
    if key not in _SIGNERS:
        with TemporaryDirectory(prefix="golive-") as folder:
            files = [Path(folder) / name for name in ("signers", "signature")]
            for file, text in zip(files, (allowed, signature), strict=True):
                file.write_bytes(text)
            given = ("-f", str(files[0]), "-s", str(files[1]), f"-Overify-time={time}")

            def is_by(name: str) -> bool:
                done = _run("verify", *given, "-n", namespace, "-I", name, content=content)
                reasons.append(_reason(done))
                return done.returncode == 0

            reasons: list[str] = []
            # Most signatures in a namespace are of one person: that name is tried first.
            name = _LATEST.get(key[:2], "")
            if not (name and is_by(name)):
                done = _run("find-principals", *given)
                reasons.append(_reason(done))
                names = filter(None, done.stdout.decode(errors="replace").split("\n"))
                name = next(filter(is_by, names), "")
            if not name:
                raise SignatureRefused(f"{signers.name}: {reasons[-1]}")
            _SIGNERS[key] = _LATEST[key[:2]] = name
    return _SIGNERS[key]


def _run(verb: str, *words: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*PROGRAM, verb, *words]
    try:
        return subprocess.run(command, input=content, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Misconfigured(f"ssh-keygen did not end within {SECONDS:.0f} s.") from error


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line of the reason, without the frame of a warning."""
    lines = done.stderr.decode(errors="replace").splitlines()
    found = [line for line in lines if not line.startswith(("@", "Signing "))]
    return found[0] if found else "no answer"
