"""What people state about the go-live: a file for each statement, signed by the person who states it.

A record is `<SHA-256>.json`, and its signature `<SHA-256>.json.sig`. It names all records that no other one
named when it was made (`heads`): a removed record is missed by those that saw it, and by the machine that
added it, and nothing has to be locked. Evidence is kept beside the folder of the records, under its SHA-256.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from leads.domain.errors import Misconfigured
from ops.clients.signing import SignatureRefused, sign, signer_of
from ops.failures import CommandFailed, WrongUsage
from ops.files import digest_of, write_file
from ops.golive.criterion import Role, find_criterion
from ops.settings import PLAIN_VARIABLES, installed_commit, read_variable
from ops.switches import check_reason

RECORDS, EVIDENCE = "records", "evidence"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_NAME_CHARACTERS = 100
MAX_REASON_CHARACTERS = 1000
MIN_REASON_WORDS = 3
CLOCK_TOLERANCE = timedelta(minutes=5)
"""A record may be dated so much after the present: two machines' clocks differ."""
MAX_BACKDATED = timedelta(days=7)
"""How long after its beginning a wave may be stated."""
AFTER, LONG_AGO = timedelta(microseconds=1), datetime(2000, 1, 1, tzinfo=UTC)
WITHOUT_KEY = (Role.DIRECTOR, Role.LEGAL)
"""For these the product owner may state, with their name beside the signer's."""
CI = "ci"
"""In this role the pipeline signs the files that it makes."""


class RecordsError(CommandFailed):
    """The records cannot be read or written, or one of them is missing, changed or not signed."""


class Kind(StrEnum):
    """What a record states: that a wave begins, or something about a criterion."""

    BEGIN = auto()
    ATTEST = auto()
    WAIVE = auto()
    NOT_APPLICABLE = auto()


class Handed(NamedTuple):
    name: str
    content: bytes
    signature: bytes = b""


STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=STRICT)
class Evidence:
    """A file that was handed in: its name, and the hash under which it is kept."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, config=STRICT)
class Statement:
    """What a person states at `at`. `of` is the id of a criterion, or the wave that begins.

    `by` is a person without a key, for whom the signer states it; `commit` what was installed then; `cases`
    how many were asked in a survey, `since` when a wave began, `until` when an exemption ends.
    """

    kind: Kind
    of: str
    role: Role
    at: datetime
    by: str = ""
    value: float | None = None
    cases: int | None = None
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    commit: str = ""


def make_statement(kind: Kind, of: str, by: str = "", **values: Any) -> Statement:
    """Make a statement of now. Raises WrongUsage for a name or reason that is empty or too long."""
    reason = str(values.pop("reason", ""))
    if not by.isprintable() or len(by) > MAX_NAME_CHARACTERS:
        raise WrongUsage(f"--by is a name of at most {MAX_NAME_CHARACTERS} characters in one line.")
    if reason or kind in (Kind.WAIVE, Kind.NOT_APPLICABLE):
        reason = check_reason(reason, MAX_REASON_CHARACTERS)
    if kind in (Kind.WAIVE, Kind.NOT_APPLICABLE) and len(reason.split()) < MIN_REASON_WORDS:
        raise WrongUsage(f"--reason says in {MIN_REASON_WORDS} words or more why it may be left out.")
    now, role = datetime.now(UTC), role_for(kind, of, by)
    return Statement(kind, of, role, now, by.strip(), reason=reason, commit=installed_commit(), **values)


def role_for(kind: Kind, of: str, by: str) -> Role:
    """Return the role in which it has to be stated: that of the criterion's owner."""
    owner = Role.RELEASE if kind is Kind.BEGIN else find_criterion(of).owner
    return Role.OWNER if by and owner in WITHOUT_KEY else owner


@dataclass(frozen=True, slots=True, config=STRICT)
class Record:
    """A statement as it was signed. `signers` is the SHA-256 of the allowed signers' file of that time.

    `digest` and `signer` (a name in that file) are not in the file of the record: they are what was verified.
    """

    statement: Statement
    evidence: tuple[Evidence, ...] = ()
    heads: tuple[str, ...] = ()
    signers: str = ""
    digest: str = field(default="", kw_only=True)
    signer: str = field(default="", kw_only=True)

    @property
    def kind(self) -> Kind:
        return self.statement.kind

    @property
    def of(self) -> str:
        return self.statement.of

    @property
    def holds_at(self) -> datetime:
        """From when on the statement holds."""
        return self.statement.since or self.statement.at

    @property
    def stated_by(self) -> str:
        return f"{self.signer} for {self.statement.by}" if self.statement.by else self.signer

    @property
    def stated_by_vi(self) -> str:
        return f"{self.signer} thay {self.statement.by}" if self.statement.by else self.signer


FILE = TypeAdapter(Record)
VERIFIED = {"digest", "signer"}


def stated(records: Sequence[Record], kind: Kind, of: str, until: datetime) -> list[Record]:
    """Return the records of that kind on `of` that hold at `until`, the oldest first.

    One in another role than that of the criterion's owner never counts, nor the beginning of a wave that is
    dated further back than it may be.
    """
    return [
        each for each in records
        if each.kind is kind and each.of == of and each.holds_at <= until
        and each.statement.role is role_for(kind, of, each.statement.by)
        and each.statement.at - MAX_BACKDATED <= each.holds_at <= each.statement.at
    ]  # fmt: skip


def newest(records: Sequence[Record], kind: Kind, of: str, until: datetime) -> Record | None:
    """Return the record of that kind on `of` that counts at `until`: the last one.

    Of the beginnings of a wave it is the last with a reason, for which it began anew, or else the first.
    """
    found = stated(records, kind, of, until)
    if kind is Kind.BEGIN:
        found = found[:1] + [each for each in found[1:] if each.statement.reason]
    return found[-1] if found else None


def heads_of(records: Sequence[Record]) -> tuple[str, ...]:
    named = {digest for each in records for digest in each.heads}
    return tuple(sorted(each.digest for each in records if each.digest not in named))


class Records:
    """The records of a go-live's folder, and who may sign them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.evidence = folder / RECORDS, folder / EVIDENCE
        self.signers, self.key = (
            Path(read_variable(name) or PLAIN_VARIABLES[name]).expanduser()
            for name in ("GOLIVE_SIGNERS", "GOLIVE_KEY")
        )
        state = Path(read_variable("XDG_STATE_HOME") or "~/.local/state").expanduser()
        name = digest_of(str(self.folder.resolve()).encode())[:12]
        self.remembered = state / "pancake-diva" / f"golive-{name}.txt"
        if self.signers.resolve().is_relative_to(folder.resolve()):
            raise Misconfigured(f"GOLIVE_SIGNERS is {self.signers}, beside the records. Keep it elsewhere.")

    def signers_digest(self) -> str:
        """Return the SHA-256 of the file of the allowed signers; empty without one."""
        return digest_of(self.signers.read_bytes()) if self.signers.is_file() else ""

    def signer(self, role: str, path: Path, at: datetime) -> str:
        """Return who signed a file in a role at a time. Raises SignatureRefused and CommandFailed."""
        content, signature = (read_limited(each, MAX_FILE_BYTES) for each in (path, signature_of(path)))
        return signer_of(self.signers, namespace(role), content, signature, at)

    def sign(self, role: Role, contents: Sequence[bytes]) -> tuple[str, list[bytes]]:
        """Return who signs in a role now, and the signatures. Raises RecordsError and Misconfigured."""
        signatures = sign(self.key, namespace(role), contents)
        try:
            name = signer_of(self.signers, namespace(role), contents[0], signatures[0], datetime.now(UTC))
        except SignatureRefused as error:
            raise RecordsError(f"{namespace(role)} has to sign this. Nothing was written. {error}") from error
        return name, signatures

    def read(self) -> tuple[Record, ...]:
        """Return all records, the oldest first; none without a folder. Raises RecordsError."""
        # Before the records, which another process may add meanwhile.
        own = set(self.remembered.read_text().split()) if self.remembered.is_file() else set[str]()
        with ThreadPoolExecutor() as pool:
            found = {each.digest: each for each in pool.map(self._read, sorted(self.folder.glob("*.json")))}
        for record in found.values():
            if missing := [head for head in record.heads if head not in found]:
                raise RecordsError(
                    f"A record is missing: {missing[0][:12]}, which {record.signer} saw on "
                    f"{record.statement.at:%Y-%m-%d %H:%M} UTC. Restore {self.folder} from a copy."
                )
            if any(found[head].statement.at >= record.statement.at for head in record.heads):
                raise RecordsError(f"The record {record.digest[:12]} is dated before one that it names.")
        if lost := sorted(own - found.keys()):
            raise RecordsError(
                f"A record is missing: {lost[0][:12]}, which you added here. Restore {self.folder} from a "
                f"copy. If it was meant to begin anew, delete {self.remembered}."
            )
        return tuple(sorted(found.values(), key=lambda each: (each.statement.at, each.digest)))

    def _read(self, path: Path) -> Record:
        try:
            content = read_limited(path, MAX_FILE_BYTES)
            record = FILE.validate_json(content)
            if digest_of(content) != path.stem or record.statement.at > datetime.now(UTC) + CLOCK_TOLERANCE:
                raise RecordsError("its hash is not its name, or it is of the future")
            signer = self.signer(record.statement.role, path, record.statement.at)
        except (ValidationError, CommandFailed, SignatureRefused) as error:
            reason = "it is no record" if isinstance(error, ValidationError) else error
            raise RecordsError(
                f"{path.name[:12]}… in {self.folder} does not count: {reason}. Restore it from a copy; a key "
                "that is no longer used gets an end (valid-before) in GOLIVE_SIGNERS, and stays there."
            ) from error
        return replace(record, digest=path.stem, signer=signer)

    def add(self, *statements: Statement, files: Sequence[Handed] = ()) -> list[Record]:
        """Sign and keep statements, each with the same evidence. All is on disk when this returns.

        A record is there once its file is, which is written last. Raises RecordsError and Misconfigured.
        """
        before = self.read()
        for each in statements:
            if each.kind is Kind.BEGIN and not each.reason and stated(before, Kind.BEGIN, each.of, each.at):
                raise RecordsError(f"{each.of} has begun already.")
        latest = before[-1].statement.at + AFTER if before else LONG_AGO
        evidence = tuple(Evidence(each.name, digest_of(each.content), len(each.content)) for each in files)
        heads, signers = heads_of(before), self.signers_digest()
        records = [
            Record(replace(each, at=max(each.at, latest)), evidence, heads, signers) for each in statements
        ]
        made: list[Record] = []
        # The evidence goes first: a record is there once its file is.
        written = {self.evidence / digest_of(each.content): (each.content, each.signature) for each in files}
        for role in dict.fromkeys(each.statement.role for each in records):
            own = [each for each in records if each.statement.role is role]
            contents = [FILE.dump_json(each, indent=1, exclude=VERIFIED) for each in own]
            signer, signatures = self.sign(role, contents)
            digests = list(map(digest_of, contents))
            made += [
                replace(each, digest=digest, signer=signer) for each, digest in zip(own, digests, strict=True)
            ]
            paths = (self.folder / f"{digest}.json" for digest in digests)
            written |= dict(zip(paths, zip(contents, signatures, strict=True), strict=True))
        try:
            for folder in (self.folder, self.evidence):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path, (content, signature) in written.items():
                if signature:
                    write_file(signature_of(path), signature)
                write_file(path, content)
        except OSError as error:
            raise RecordsError(f"{error.filename or self.folder}: {error.strerror}") from error
        with suppress(OSError):  # a user without a home adds all the same
            self.remembered.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.remembered.open("a") as file:
                file.writelines(f"{each.digest}\n" for each in made)
        return made

    def evidence_path(self, evidence: Evidence) -> Path:
        return self.evidence / evidence.sha256

    def read_evidence(self, evidence: Evidence) -> bytes:
        try:
            content = self.evidence_path(evidence).read_bytes()
        except OSError as error:
            raise RecordsError(f"The evidence {evidence.name} cannot be read: {error.strerror}") from error
        if digest_of(content) != evidence.sha256:
            raise RecordsError(f"The evidence {evidence.name} was changed: its hash is not its name.")
        return content

    def kept(self, record: Record, name: str) -> dict[str, Any]:
        found = [each for each in record.evidence if each.name == name]
        document: dict[str, Any] = json.loads(self.read_evidence(found[0])) if found else {}
        return document


def namespace(role: str) -> str:
    """Return what GOLIVE_SIGNERS grants to those who may sign in a role."""
    return f"golive.{role}"


def signature_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def read_limited(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise CommandFailed(f"{path} is larger than {max_bytes // 1024**2} MB.")
    return content


def read_file(path: Path) -> Handed:
    """Read a file that is handed in as evidence, and the signature beside it. Raises CommandFailed."""
    if not path.is_file():
        raise RecordsError(f"{path} is not a file, or does not exist.")
    content, beside = read_limited(path, MAX_FILE_BYTES), signature_of(path)
    if not content:
        raise RecordsError(f"{path} is empty: it proves nothing.")
    return Handed(path.name, content, read_limited(beside, MAX_FILE_BYTES) if beside.is_file() else b"")
