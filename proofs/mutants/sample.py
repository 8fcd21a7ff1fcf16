"""The stored sample of mutants, sample.yaml: where each is, what it changes, and what the tests said."""

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

import yaml

from ops.files import replacing
from proofs.mutants.places import Place, find_place

SAMPLE = Path(__file__).with_name("sample.yaml")
CAUGHT, SURVIVED, TIMED_OUT, UNCOVERED, GONE = "caught", "survived", "timed out", "not covered", "gone"
NO_RESULT = "no result"
"""The run of its tests ended with an error, and no test failed."""
AT_IMPORT = "import"
"""In place of a test: the changed module could not be imported."""
NOT_RUN = "not run"
QUOTAS = {
    "app": 2, "handlers": 10, "cron": 14, "leads.runtime": 3,
    "leads.domain": 48, "leads.services": 46, "leads.adapters": 32, "ops": 104,
}  # fmt: skip
"""Mutants by part: more where the rules are than the number of lines would say."""
HEADER = """\
# A fixed sample of mutants, for `scripts/mutants`. Written by hand: `equivalent`, why no test can tell the
# mutant from the product, and `known`, why a survivor is left.
"""


@dataclass
class Mutant:
    """One line of a function, and the line in its place."""

    function: str
    """Its name for `find_place`, like `leads.domain.assign:choose`."""
    operator: str
    line: str
    becomes: str
    nth: int = 0
    """Which line of the function, if several have this text."""
    verdict: str = ""
    by: str = ""
    """The test that caught it, or AT_IMPORT."""
    partly: bool = False
    """It survived the tests that fitted into the limit; others execute its line too."""
    seconds: float = 0.0
    digest: str = ""
    """Of what the verdict holds for."""
    equivalent: str = ""
    known: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The fault. A function that moved to another module is the same one."""
        return self.function.partition(":")[2], self.line, self.becomes, self.nth

    @property
    def module(self) -> str:
        """Where its function stands: `leads.domain.assign`."""
        return self.function.partition(":")[0]

    @property
    def part(self) -> str:
        """The part of the product: `leads.domain`, `handlers`."""
        names = self.module.split(".")
        return ".".join(names[: 2 if names[0] == "leads" else 1])

    def place(self, root: Path) -> Place:
        """The lines of its function in a tree. Raises LookupError if it is gone."""
        return find_place(root, self.function)

    def line_number(self, root: Path) -> int:
        """The number of its line in the file, from 1. Raises LookupError if it is gone."""
        place = self.place(root)
        same = [n for n, line in enumerate(place.text.splitlines()) if line.strip() == self.line]
        if len(same) <= self.nth:
            raise LookupError(f"{self.function} has no line {self.line!r}")
        return place.first + same[self.nth] + 1

    def apply(self, root: Path) -> None:
        """Put the fault into a tree. Raises LookupError if its function or line is gone."""
        place = self.place(root)
        number = self.line_number(root) - 1 - place.first
        lines = place.text.splitlines(keepends=True)
        lines[number] = lines[number].replace(self.line, self.becomes)
        place.write("".join(lines))

    def digest_in(self, root: Path, tests: Iterable[str]) -> str:
        """The digest of the function's code, without comments and layout, and of files of tests.

        Raises LookupError if the function is gone.
        """
        text = self.place(root).text
        indent = len(text) - len(text.lstrip(" "))
        code = "\n".join(line[indent:] for line in text.splitlines())
        digest = sha256(ast.dump(ast.parse(code)).encode())
        for path in (root / name for name in tests):
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()[:12]


def read_sample(path: Path = SAMPLE) -> list[Mutant]:
    """Read the sample. Raises TypeError for an entry with other keys."""
    return [Mutant(**entry) for entry in yaml.safe_load(path.read_text("utf-8")) or []]


def write_sample(sample: list[Mutant], path: Path = SAMPLE) -> None:
    """Write the sample, complete or not at all; fields with their default are left out."""
    defaults = {field.name: field.default for field in fields(Mutant)}
    entries = [{k: v for k, v in asdict(mutant).items() if v != defaults[k]} for mutant in sample]
    text = yaml.safe_dump(entries, allow_unicode=True, sort_keys=False, width=10_000)
    with replacing(path, 0o644) as fresh:
        fresh.write_text(HEADER + text, "utf-8")


def shares(sample: list[Mutant], *, by_module: bool = False) -> dict[str, Counter[str]]:
    """Count the verdicts by part or module; an equivalent mutant counts as that only."""
    counts: dict[str, Counter[str]] = {}
    for mutant in sample:
        verdict = "equivalent" if mutant.equivalent else mutant.verdict or NOT_RUN
        name = mutant.module if by_module else mutant.part
        counts.setdefault(name, Counter())[verdict] += 1
    return counts
