"""`leads golive report` and `verify`: a gate as signed files for people and programs, and their check."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import groupby
from math import ceil, floor, log10
from operator import ge, le
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.errors import IntegrationError
from ops.clients.db_session import DatabaseError, DbSession
from ops.clients.signing import SignatureRefused
from ops.failures import CommandFailed, fail_if
from ops.files import digest_of, making_folder
from ops.golive.criterion import (
    OPERATORS,
    SIGNS,
    WAVES,
    Criterion,
    Part,
    Role,
    criteria_of,
    load_criteria,
    rule_of,
)
from ops.golive.evaluation import (
    ENTRY,
    Evaluation,
    Subject,
    before_of,
    blocking_known,
    cure_of,
    earlier_notices,
    gate_at,
    judge_past,
    judged_again,
    last_day,
    notices_of,
    notices_of_criteria,
    open_sources,
    time_text,
)
from ops.golive.gates import (
    DEFAULT_RECORDS,
    WORDS,
    At,
    RecordsFolder,
    finding,
    moment,
    note,
    print_evaluation,
)
from ops.golive.judgement import Outcome, Why, least_cases
from ops.golive.measuring import SCHEMA, SHOWN, NoData, SourceDown, Sources, beginning, ending, read_row
from ops.golive.records import (
    MAX_FILE_BYTES,
    Evidence,
    Kind,
    Record,
    Records,
    RecordsError,
    newest,
    read_limited,
    signature_of,
)
from ops.output import (
    AsJson,
    escape_unseen,
    print_in_column,
    print_json,
    print_line,
    render_page,
    show_activity,
)

TEMPLATE, CHART = (Path(__file__).with_name(name) for name in ("report.html.j2", "line_chart.svg.j2"))
REPORT, PAGE = "report.json", "report.html"
COLUMN = 10
DAY, NIGHT = timedelta(days=1), timedelta(hours=4)
MAX_DAYS = 120
UNITS_VI = {"s": " giây", "ms": " ms", "min": " phút", "min p95": " phút", "MB": " MB", "KB": " KB",
         "days": " ngày", "of 5": "/5", "of 15": "/15"}  # fmt: skip
"""A count has no unit: the title of the criterion names it."""
WIDTH, HEIGHT, TOP, BOTTOM, MARGIN = 400, 220, 36.0, 198.0, 12.0
"""Of a chart, in pixels: a phone shows it about as large as it is drawn."""
PIXELS_PER_CHARACTER = 6.8
"""The mean width of a character in a wide font of 11 pixels."""
PIXELS_PER_DAY_LABEL, TICKS = 60, 5
STEPS = (1, 2, 2.5, 5, 10)
Language = Literal["vi", "en"]
Point = tuple[datetime, float | None]
"""A time and a value; None is a missing one."""
Figure = Mapping[Language, str]
"""An SVG image in each language."""
Compared = tuple[str, str]
"""What was compared with what was signed, and the problem; empty if it is the same."""


def report(
    subject: Annotated[Subject, typer.Argument(help="The wave whose gate is reported, or the sign-off.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder of the report is made.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Write the gate of a wave as a report that the release manager signs.

    The folder holds report.html for people, and report.json with its signature for
    programs: the rule of each criterion, the hash of the page, and the newest
    records, which name all others. Exit codes and variables are those of gate;
    GOLIVE_KEY signs.
    """
    with open_sources(folder) as sources, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, sources, moment(at))
        made, signer = write_report(to, evaluation, sources)
    if as_json:
        print_json({"folder": made, "is_open": evaluation.is_open, "signer": signer})
    else:
        if not evaluation.is_open:
            print_evaluation(evaluation, Console())
        state = "open" if evaluation.is_open else "closed"
        print_line(f"Gate {subject} is {state}. Report: {made / PAGE}, signed by {signer}")
        print_line(f"Check it with: leads golive verify {made}")
    raise typer.Exit(evaluation.exit_code)


def write_report(to: Path, evaluation: Evaluation, sources: Sources) -> tuple[Path, str]:
    """Write and sign a report in a new folder; return that, and who signed. Raises RecordsError."""
    # The page names who signs, and report.json the page: so a first signature tells the name.
    signer, _ = sources.files.sign(Role.RELEASE, [b""])
    records = [record for record in sources.records if record.statement.at <= evaluation.at]
    page = html_page(evaluation, _figures(evaluation, sources), records, signer).encode()
    signed = {"signed_at": datetime.now(UTC).isoformat(), "page": digest_of(page)}
    content = json.dumps(evaluation.document() | signed, ensure_ascii=False, indent=1).encode()
    _, (signature,) = sources.files.sign(Role.RELEASE, [content])
    files = {PAGE: page, REPORT: content, signature_of(Path(REPORT)).name: signature}
    return write_folder(to, evaluation, files), signer


def write_folder(to: Path, evaluation: Evaluation, files: Mapping[str, bytes]) -> Path:
    made = to / f"{evaluation.subject}-{evaluation.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    try:
        with making_folder(made) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)
    except FileExistsError as error:
        raise CommandFailed(f"{made} exists already. Remove it, or give another folder with --to.") from error
    return made


def html_page(
    evaluation: Evaluation, figures: Sequence[Figure], records: Sequence[Record], signer: str
) -> str:  # fmt: skip
    def attestation(criterion: Criterion) -> Record | None:
        return newest(records, Kind.ATTEST, criterion.id, evaluation.at)

    return render_page(
        TEMPLATE, evaluation=evaluation, figures=figures, records=records, signer=signer, words=WORDS,
        waves=WAVES, signs=SIGNS, time_text=time_text, local_text=_local_text, number_vi=_number_vi,
        finding=finding, note=note, attestation=attestation, last_day=last_day, least_cases=least_cases,
        cure_of=cure_of, with_comma=_with_comma,
    )  # fmt: skip


def _local_text(at: datetime) -> str:
    return f"{at.astimezone(ICT):%H:%M %d/%m/%Y}"


def _number_vi(criterion: Criterion, value: float) -> str:
    """Return a value as it is written in Vietnam."""
    return _with_comma(criterion.digits(value)) + UNITS_VI.get(criterion.unit, "")


def _with_comma(number: str) -> str:
    return number.translate(str.maketrans(",.", ".,"))


def _figures(evaluation: Evaluation, sources: Sources) -> list[Figure]:
    until = evaluation.at
    try:
        since = beginning("W1", until, sources.records)
        days = days_between(max(since, until - MAX_DAYS * DAY), until)
        session = sources.session
        return [drawn(each, _points(session, each, days)) for each in load_criteria() if each.chart]
    except (NoData, SourceDown, DatabaseError, IntegrationError):
        return []


def days_between(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Return the days of Vietnam from `since` to `until`; the first and the last may be shorter."""
    days = []
    while since < until:
        midnight = since.astimezone(ICT).replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        days.append((since, min(midnight, until)))
        since = midnight
    return days


def _points(
    session: DbSession, criterion: Criterion, days: Sequence[tuple[datetime, datetime]]
) -> list[Point]:
    points: list[Point] = []
    # What was missing on a day its night tells.
    later = NIGHT if criterion.query == "golive/load_nights" else timedelta()
    for start, end in days:
        row = read_row(session, criterion.query, {"from": start + later, "to": end + later}) or {}
        value = row.get(criterion.value)
        points.append((start + (end - start) / 2, None if value is None else float(value)))
    return points


def drawn(criterion: Criterion, points: Sequence[Point]) -> Figure:
    return {"vi": draw(criterion, points, "vi"), "en": draw(criterion, points, "en")}


def draw(criterion: Criterion, points: Sequence[Point], language: Language) -> str:
    """Return the values of a criterion by day, and its target, as an SVG image without style sheet and id.

    The axis begins at 0, or near the lowest share of good ones.
    """

    def number(value: float) -> str:
        return _number_vi(criterion, value) if language == "vi" else criterion.shown(value)

    found = [value for _, value in points if value is not None]
    ticks = value_ticks(criterion, found)
    names = list(map(number, ticks))
    left, right = MARGIN + 6 + PIXELS_PER_CHARACTER * max(map(len, names)), WIDTH - MARGIN
    times = [at.timestamp() for at, _ in points] or [0.0]
    x = _scale(times[0], times[-1], left + 8, right - 8)
    y = _scale(ticks[0], ticks[-1], BOTTOM, TOP)
    every = max(1, ceil(len(points) * PIXELS_PER_DAY_LABEL / (right - left)))
    runs = groupby(points, lambda point: point[1] is not None)
    return render_page(
        CHART, criterion=criterion, language=language, number=number, found=found,
        is_upper=criterion.operator not in (">=", ">"), target=y(criterion.target),
        sign=SIGNS.get(criterion.operator, criterion.operator),
        width=WIDTH, height=HEIGHT, left=left, right=right, top=TOP, bottom=BOTTOM,
        ticks=[(y(tick), name) for tick, name in zip(ticks, names, strict=True)],
        days=[(x(at.timestamp()), f"{at.astimezone(ICT):%d/%m}") for at, _ in points[::every]],
        pieces=[
            [(x(at.timestamp()), y(value)) for at, value in run if value is not None]
            for is_there, run in runs
            if is_there
        ],
    ).replace("\n", "")  # fmt: skip


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return what maps values from `low` to `high` to pixels from `start` to `end`."""
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)


def value_ticks(criterion: Criterion, values: Sequence[float]) -> list[float]:
    """Return about TICKS round values around these and the target, with 0 but for a share of good ones."""
    found = [*values, criterion.target]
    if criterion.unit != "share" or criterion.operator not in (">=", ">"):
        found.append(0.0)
    low, high = min(found), max(found)
    if high - low <= abs(low) * 1e-9 + 1e-9:
        low, high = min(low, 0.0), max(high, 1.0)
    power = 10.0 ** floor(log10((high - low) / TICKS))
    step = next(each * power for each in STEPS if each * power * TICKS >= (high - low) * (1 - 1e-9))
    if criterion.unit not in ("share", *UNITS_VI):
        step = max(step, 1.0)  # a count
    first = floor(round(low / step, 6))
    last = max(ceil(round(high / step, 6)), first + 1)
    return [round(n * step, 12) for n in range(first, last + 1)]


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
    no criterion may have been weaker than the installed one, and what people stated
    has to say the same, in red too. With --reevaluate all sources that know the
    past are asked again for the time of the report (needs the variables of gate):
    late changes of the data show as differences. Exit code 1: something differs.
    """
    try:
        signed = json.loads(read_limited(report / REPORT, MAX_FILE_BYTES))
        files, signed_at = Records(folder), datetime.fromisoformat(signed["signed_at"])
        signer = files.signer(Role.RELEASE, report / REPORT, signed_at)
    except (SignatureRefused, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CommandFailed(
            f"{report / REPORT} was changed, or is not signed by the release manager: {error}"
        ) from error
    subject, at, is_open = signed["subject"], datetime.fromisoformat(signed["at"]), signed["is_open"]
    records, *evidence = _check_records(files, signed["heads"], at)
    compared = [(f"signature of {signer}", ""), (PAGE, _check_page(report / PAGE, signed, signer)), records]
    compared += [*evidence, *_check_rules(signed), *_check_outcome(signed)]
    if not records[1]:
        with show_activity(f"evaluating gate {subject}"):
            compared += _compare_again(folder, signed, at, with_services=reevaluate)
    is_right = not any(problem for _, problem in compared)
    if as_json:
        print_json({
            "is_right": is_right, "gate": subject, "at": signed["at"], "is_open": is_open,
            "checks": [{"name": name, "problem": problem or None} for name, problem in compared],
        })  # fmt: skip
    else:
        console = Console()
        for name, problem in sorted(compared, key=lambda each: not each[1]):
            word = "DIFFERS" if problem else "ok"
            print_in_column(word.ljust(COLUMN), f"{name} {problem}".strip(), console)
        said, state = "is" if is_right else "is not", "open" if is_open else "closed"
        text = f"The report {said} what was signed: gate {subject} was {state} at {time_text(at)}."
        console.print(text, soft_wrap=True)
    fail_if(not is_right)


def _unsaid(texts: Iterable[str], where: str = "") -> str:
    named = "; ".join(dict.fromkeys(texts))
    return f"it does not say{where}: {named}" if named else ""


def _check_page(path: Path, signed: Mapping[str, Any], signer: str) -> str:
    """Compare the page with the hash that was signed, and its states and red lines with those for programs.

    The signer that the page names is compared with `signer`.
    """
    try:
        content = read_limited(path, MAX_FILE_BYTES)
    except CommandFailed as error:
        return str(error)
    if digest_of(content) != signed["page"]:
        return "it was changed: its hash is another one"
    text = unescape(content.decode(errors="replace"))
    wanted = [f"Signed by <code>{escape_unseen(signer)}<"]
    wanted += [f">{state}<" for state in (("OPEN", "MỞ") if signed["is_open"] else ("CLOSED", "ĐÓNG"))]
    wanted += [escape_unseen(each[language]) for each in signed["notices"] for language in ("vi", "en")]
    return _unsaid(each for each in wanted if each not in text)


def _check_records(files: Records, heads: Sequence[str], at: datetime) -> Iterator[Compared]:
    name = f"records in {files.folder}"
    try:
        records = files.read()
    except RecordsError as error:
        yield name, str(error)
        return
    named = set(heads)
    missing = ", ".join(each[:SHOWN] for each in named - {each.digest for each in records})
    later = ", ".join(each.digest[:SHOWN] for each in records
                      if each.digest in named and each.statement.at > at)  # fmt: skip
    problem = f"the report is dated before what it names: {later}" if later else ""
    yield name, f"the report names what is missing: {missing}" if missing else problem
    evidence: dict[str, Evidence] = {}
    for record in reversed(records):
        if record.digest in named:
            named.update(record.heads)
            evidence |= {each.sha256: each for each in record.evidence}
    for each in evidence.values():
        problem = ""
        try:
            files.read_evidence(each)
        except RecordsError as error:
            problem = str(error)
        yield f"evidence {each.name}", problem


def _check_rules(signed: Mapping[str, Any]) -> Iterator[Compared]:
    used = {each["id"]: each["rule"] | {"owner": each["owner"]} for each in signed["criteria"]}
    for criterion in criteria_of(Part(signed["subject"])):
        installed = rule_of(criterion) | {"owner": criterion.owner}
        yield f"criterion {criterion.id}", _weakness(used.get(criterion.id, {}), installed)


def _weakness(used: Mapping[str, Any], installed: Mapping[str, Any]) -> str:
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


def _check_outcome(signed: Mapping[str, Any]) -> Iterator[Compared]:
    blocking, before = [], signed["before"]
    if before and before["outcome"] != Outcome.PASS:
        blocking.append(f"the gate of {before['gate']}")
    for each in signed["criteria"]:
        value, meets = each["value"], OPERATORS[each["operator"]]
        if each["outcome"] in (Outcome.FAIL, Outcome.INCONCLUSIVE):
            blocking.append(each["id"])
        elif each["outcome"] == Outcome.PASS and (value is None or not meets(value, each["target"])):
            yield f"outcome of {each['id']}", f"it is said to pass with {value}"
    problem = f"it is said to be open, and is closed by {', '.join(blocking)}"
    yield f"gate {signed['subject']}", problem if signed["is_open"] and blocking else ""


def _compare_again(
    folder: Path, signed: Mapping[str, Any], at: datetime, *, with_services: bool
) -> Iterator[Compared]:  # fmt: skip
    """Judge again for the time of the report what knows the past: what people stated, and services.

    A difference of an outcome or a value is a problem, and what has to be said in red and is not. What is no
    longer installed, and without services what needs them, is not compared.
    """
    subject, commit = signed["subject"], signed["commit"]
    with open_sources(folder) as sources:
        sources.forget_later(at)
        records = sources.records
        until = ending(subject, at, records) if subject in WAVES else at
        again = judge_past(subject, sources, at, until=until, with_services=with_services)
        yield "gate before", _difference_before(signed, sources, at, with_services=with_services)
        said = {(each["en"], each["gate"]) for each in signed["notices"]}
        red = [*notices_of((), records, commit, signed["signers"]), *earlier_notices(records, sources.files)]
        red += judged_again(subject, sources, at) if with_services else ()
        yield (
            "in red",
            _unsaid(f"{gate}: {en}" if gate else en for _, en, gate in red if (en, gate) not in said),
        )
        if with_services:
            now, then = sources.installation, signed.get("installation", {})
            other = [f"{name} was {then[name]}, is {now[name]}" for name in now if name != SCHEMA
                     if now[name] and then.get(name) not in (None, "", now[name])]  # fmt: skip
            yield "installation", "; ".join(other)
    used = {each["id"]: each for each in signed["criteria"]}
    lines = [each["en"].partition(": ") for each in signed["notices"]]
    for judgement, new in zip(again.judgements, again.document()["criteria"], strict=True):
        if (old := used.get(new["id"])) and (with_services or judgement.why is not Why.SOURCE_DOWN):
            unsaid = [
                text for notice in notices_of_criteria([judgement], records, commit)
                for name, _, text in [notice.en.partition(": ")]
                if not any(text == each and name in ids.split(", ") for ids, _, each in lines)
            ]  # fmt: skip
            yield f"again: {new['id']}", _difference(old, new) or _unsaid(unsaid, " in red")


def _difference_before(
    signed: Mapping[str, Any], sources: Sources, at: datetime, *, with_services: bool
) -> str:
    subject, was = signed["subject"], signed["before"]
    said = f"it was {was['outcome']} ({was['reason']})" if was else "it was unknown"
    if subject in WAVES:
        now = before_of(subject, sources, at)
        is_same = was == {"gate": now.wave, "outcome": now.outcome, "reason": now.reason}
        return "" if is_same else f"{said}, it is {now.outcome} ({now.reason})"
    if subject == ENTRY or (was and was["outcome"] != Outcome.PASS):
        return ""
    last = judge_past(WAVES[-1], sources, at, with_services=with_services)
    bad = ", ".join(each.named for each in blocking_known(last))
    return f"{said}, {last.subject} is closed by {bad}" if bad else ""


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if (new["outcome"], new["value"]) == (old["outcome"], old["value"]):
        return ""
    was, now = (f"{each['outcome']} ({each['value']})" for each in (old, new))
    return f"it was {was}, it is {now}. {new['reason']}".strip()
