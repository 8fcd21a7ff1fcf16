"""`leads golive verify`: whether a report is what was signed, and whether the sources still say the same."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import ge, le
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.clients.signing import SignatureRefused
from ops.failures import CommandFailed, ExitCode
from ops.files import digest_of
from ops.golive.criterion import OPERATORS, Part, Role, Source, criteria_of, rule_of
from ops.golive.gates import DEFAULT_RECORDS, RecordsFolder, gate_at, open_sources, time_text
from ops.golive.records import MAX_FILE_BYTES, Evidence, Records, RecordsError, read_limited
from ops.golive.report import PAGE, REPORT
from ops.output import AsJson, print_in_column, print_json, show_activity

COLUMN = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was compared with what was signed; `problem` is empty if it is the same."""

    name: str
    problem: str = ""


def verify(
    report: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the report.")],
    reevaluate: Annotated[
        bool, typer.Option("--reevaluate", help="Ask the sources again for that time, and compare.")
    ] = False,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Check a signed report: signature, page, records, evidence and criteria.

    GOLIVE_SIGNERS says who may sign. The page has to have the hash that was signed,
    the records that the report names have to be in the folder with all before them,
    and no criterion may have been weaker than the installed one. With --reevaluate
    the statements run again for the time of the report (needs the variables of
    gate): late changes of the data show as differences. Exit code 1: something
    differs.
    """
    try:
        signed = json.loads(read_limited(report / REPORT, MAX_FILE_BYTES))
        files, at = Records(folder), datetime.fromisoformat(signed["signed_at"])
        signer = files.signer(Role.RELEASE, report / REPORT, at)
    except (SignatureRefused, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"{report / REPORT} was changed, or is not signed by the release manager: {error}"
        ) from error
    compared = [Comparison(f"signature of {signer}"), check_page(report / PAGE, signed)]
    compared += [*check_records(files, signed["heads"]), *check_rules(signed)]
    if reevaluate:
        with show_activity(f"evaluating gate {signed['subject']}"):
            compared += compare_again(folder, signed)
    is_right = not any(each.problem for each in compared)
    if as_json:
        print_json({
            "is_right": is_right, "gate": signed["subject"], "at": signed["at"], "is_open": signed["is_open"],
            "checks": [{"name": each.name, "problem": each.problem or None} for each in compared],
        })  # fmt: skip
    else:
        _print(signed, compared, is_right)
    if not is_right:
        raise typer.Exit(ExitCode.FAILED)


def check_page(path: Path, signed: Mapping[str, Any]) -> Comparison:
    """Compare the page with the hash that was signed."""
    try:
        is_same = digest_of(read_limited(path, MAX_FILE_BYTES)) == signed["page"]
    except CommandFailed as error:
        return Comparison(PAGE, str(error))
    return Comparison(PAGE, "" if is_same else "it was changed: its hash is another one")


def check_records(files: Records, heads: Sequence[str]) -> Iterator[Comparison]:
    """Compare the records of the folder, and their evidence, with those that a report names."""
    name = f"records in {files.folder}"
    try:
        records = files.read()
    except RecordsError as error:
        yield Comparison(name, str(error))
        return
    missing = ", ".join(each[:12] for each in set(heads) - {each.digest for each in records})
    yield Comparison(name, f"the report names what is missing: {missing}" if missing else "")
    named = set(heads)
    evidence: dict[str, Evidence] = {}
    for record in reversed(records):
        if record.digest in named:
            named.update(record.heads)
            evidence |= {each.sha256: each for each in record.evidence}
    for each in evidence.values():
        try:
            files.read_evidence(each)
            yield Comparison(f"evidence {each.name}")
        except RecordsError as error:
            yield Comparison(f"evidence {each.name}", str(error))


def check_rules(signed: Mapping[str, Any]) -> Iterator[Comparison]:
    """Compare the criteria of the report with the installed ones, which count."""
    used = {each["id"]: each["rule"] for each in signed["criteria"]}
    for criterion in criteria_of(Part(signed["subject"].replace("-", "_"))):
        yield Comparison(
            f"criterion {criterion.id}", weakness(used.get(criterion.id, {}), rule_of(criterion))
        )


def weakness(used: Mapping[str, Any], installed: Mapping[str, Any]) -> str:
    """Say how a criterion of a report is weaker than the installed one; empty if it is not.

    What cannot be compared, such as another query, counts as weaker.
    """
    stricter = {"target": OPERATORS[installed["operator"]], "min_samples": ge, "max_age_days": le}
    found = []
    for name, new in installed.items():
        old: Any = used.get(name)
        is_stricter = name in stricter and None not in (old, new) and stricter[name](old, new)
        if old != new and not is_stricter:
            found.append(f"{name} was {old}, installed is {new}")
    return "; ".join(found)


def compare_again(folder: Path, signed: Mapping[str, Any]) -> list[Comparison]:
    """Evaluate the gate again for the time of the report; a difference of a measured value is a problem.

    A criterion that is no longer installed is not asked.
    """
    with open_sources(folder) as sources:
        again = gate_at(signed["subject"], sources, datetime.fromisoformat(signed["at"])).document()
    found = {each["id"]: each for each in again["criteria"]}
    return [
        Comparison(f"again: {old['id']}", _difference(old, found[old["id"]]))
        for old in signed["criteria"]
        if old["source"] in (Source.SQL, Source.PROMQL) and old["id"] in found
    ]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if (new["outcome"], new["value"]) == (old["outcome"], old["value"]):
        return ""
    was, now = (f"{each['outcome']} ({each['value']})" for each in (old, new))
    return f"it was {was}, it is {now}. {new['reason']}".strip()


def _print(signed: Mapping[str, Any], compared: list[Comparison], is_right: bool) -> None:
    console = Console()
    for each in sorted(compared, key=lambda one: not one.problem):
        word = "DIFFERS" if each.problem else "ok"
        print_in_column(word.ljust(COLUMN), f"{each.name} {each.problem}".strip(), console)
    state, at = "open" if signed["is_open"] else "closed", datetime.fromisoformat(signed["at"])
    said = "The report is what was signed" if is_right else "The report is not what was signed"
    console.print(f"{said}: gate {signed['subject']} was {state} at {time_text(at)}.", soft_wrap=True)
