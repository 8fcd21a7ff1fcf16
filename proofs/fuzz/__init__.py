"""Fuzzing: what a sender may post, mutated. Each corpus is a file here, a line of base64 for an input.

`python -m proofs.fuzz unpack FOLDER` writes the corpus of bodies as files, `pack FOLDER` takes it from files;
`add body SECONDS EXECUTIONS` adds a run to `totals.json`, which docs/proofs.md quotes.
"""

import json
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent
TOTALS = FOLDER / "totals.json"
PAGE = FOLDER.parents[1] / "docs" / "proofs.md"
QUOTED = re.compile(r"^So far: .*$", re.MULTILINE)


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


def keep(name: str, content: bytes) -> None:
    """Add an input to a corpus, unless it is there."""
    contents = read_corpus(name)
    if content not in contents:
        lines = (b64encode(each).decode() for each in [*contents, content])
        (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def add_run(name: str, seconds: float, executions: int) -> None:
    """Add a run to the totals, and quote them in docs/proofs.md."""
    totals = json.loads(TOTALS.read_text())
    totals[name]["seconds"] += round(seconds)
    totals[name]["executions"] += executions
    TOTALS.write_text(json.dumps(totals) + "\n")
    PAGE.write_text(QUOTED.sub(quote_totals(), PAGE.read_text()))


def quote_totals() -> str:
    """Return the line of docs/proofs.md that says how much was run."""
    totals = json.loads(TOTALS.read_text())
    said = (
        f"{each['executions']:,} {name} in {each['seconds']:,} s"
        for name, each in (
            ("bodies", totals["body"]),
            ("requests", totals["edge"]),
        )
    )
    return f"So far: {', '.join(said)}."
