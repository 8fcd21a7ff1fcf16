"""Fuzzing: what a sender may post, mutated. Each corpus is a file here, a line of base64 for an input.

`python -m proofs.fuzz unpack FOLDER` writes the corpus of bodies as files, `pack FOLDER` takes it from files.
"""

from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs of `body` or `edge`."""
    return [b64decode(line) for line in (FOLDER / f"{name}.txt").read_text().splitlines()]


def unpack(name: str, folder: Path) -> None:
    """Write each input into a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for content in read_corpus(name):
        (folder / sha256(content).hexdigest()).write_bytes(content)


def pack(name: str, folder: Path) -> None:
    """Take the files of a folder as the corpus, the shortest first."""
    contents = sorted({path.read_bytes() for path in folder.iterdir()}, key=lambda each: (len(each), each))
    (FOLDER / f"{name}.txt").write_text("".join(f"{b64encode(each).decode()}\n" for each in contents))
