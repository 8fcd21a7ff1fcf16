"""What the setup has to know: from options, an answers file, the environment, or asked on the terminal."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import typer
import yaml

from ops.failures import WrongUsage, file_reason
from ops.files import write_file
from ops.settings import read_variable
from ops.setup.env_files import EDGE, ENGINE, HANDLERS, OPS, EnvFiles

REMEMBERED = "answers.yaml"
"""The file of the folder with the answers that are no secrets and in no environment file."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something to know: the variable that may have it, and the environment file that has it later."""

    name: str
    variable: str
    text: str
    file: str = ""
    is_secret: bool = False
    default: str | None = None
    """Of one that is not asked; empty: it may be left out."""


QUESTIONS = (
    Question("hasura_url", "HASURA_URL", "URL of the engine", OPS),
    Question("admin_secret", "HASURA_ADMIN_SECRET", "Admin secret of the engine", OPS, is_secret=True),
    Question(
        "owner_database_url", "OWNER_DATABASE_URL", "Database URL of the owner of Diva's tables",
        is_secret=True,
    ),
    Question("handlers_url", "HANDLERS_URL", "URL at which the engine reaches the handlers", ENGINE),
    Question("public_url", "PUBLIC_URL", "URL at which Pancake reaches the edge", OPS),
    Question(
        "jwt_secret", "HASURA_GRAPHQL_JWT_SECRET", "The engine's HASURA_GRAPHQL_JWT_SECRET", is_secret=True
    ),
    Question("service_token", "HASURA_SERVICE_TOKEN", "", HANDLERS, is_secret=True, default=""),
    Question("edge_token", "HASURA_EDGE_TOKEN", "", EDGE, is_secret=True, default=""),
    Question("jwt_private_key", "", "", default=""),
    Question("api_key", "PANCAKE_API_KEY", "API key of Pancake (Settings, Tools)", is_secret=True),
    Question("workspace", "", "Number of Pancake's workspace"),
    Question("api_url", "", "", default="https://crm.pancake.vn/api"),
    Question("connection", "", "", default="Diva"),
    Question("project", "", "", default=""),
    Question("source", "", "", default="default"),
    Question("logins", "", "", default="diva"),
    Question("edge_handlers_url", "", "", EDGE, default="http://127.0.0.1:8080"),
    Question("edge_status_url", "EDGE_STATUS_URL", "", OPS, default="http://127.0.0.1:9145"),
    Question("metadata_database_url", "METADATA_DATABASE_URL", "", HANDLERS, is_secret=True, default=""),
    Question("allow_clear_text", "ALLOW_CLEAR_TEXT", "", HANDLERS, default=""),
    Question("lead_source", "", "The one source to begin with, its name or Pancake's id"),
    Question("roster", "", "The roster: a CSV file, or a role of staff (telesale)"),
)  # fmt: skip
BY_NAME = {each.name: each for each in QUESTIONS}
KEPT = ("workspace", "api_url", "connection", "project", "source", "logins", "lead_source", "roster")
"""What is remembered for the next run."""
KEYS_OF_FILES = {"edge_handlers_url": "HANDLERS_URL"}
"""The key in the environment file, where it is not the variable."""


@dataclass
class Answers:
    """What is known, and from where the rest may come. Secrets never show in its repr."""

    given: Mapping[str, str] = field(repr=False)
    """Options and answers file."""
    files: EnvFiles
    remembered: Mapping[str, str] = field(default_factory=dict)
    is_terminal: bool = False
    known: dict[str, str] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> str:
        """Return the answer to a question that was asked, or that has a default. Raises WrongUsage."""
        if name not in self.known:
            self.known[name] = self._find(BY_NAME[name])
        return self.known[name]

    def ask(self, *names: str) -> None:
        """Ask for what is not known yet. Raises WrongUsage that lists it where no person can be asked."""
        missing = [each for each in names if not self[each]]
        if missing and not self.is_terminal:
            raise WrongUsage(
                "Not known yet:\n"
                + "\n".join(f"  {BY_NAME[name].text}: {_where(BY_NAME[name])}" for name in missing)
                + "\nGive them so, or run this on a terminal to be asked."
            )
        for name in missing:
            question = BY_NAME[name]
            self.known[name] = typer.prompt(question.text, hide_input=question.is_secret, err=True).strip()

    def _find(self, question: Question) -> str:
        key = KEYS_OF_FILES.get(question.name, question.variable)
        of_file = self.files.get(key, question.file) if question.file and key else ""
        given = self.given.get(question.name, "").strip()
        if of_file and given and given != of_file:
            raise WrongUsage(
                f"{self.files.folder / question.file} has another {key}, which is never overwritten. "
                "Correct it there, or leave the answer out."
            )
        return (
            of_file or given or (question.variable and read_variable(question.variable).strip())
            or self.remembered.get(question.name, "") or question.default or ""
        )  # fmt: skip

    def remember(self) -> None:
        """Write the answers that are kept for the next run. Raises OSError."""
        kept = {name: self[name] for name in KEPT if self[name]}
        if kept != self.remembered:
            write_file(self.files.folder / REMEMBERED, yaml.safe_dump(kept, allow_unicode=True))


def _where(question: Question) -> str:
    option = "" if question.is_secret else f"--{question.name.replace('_', '-')}, "
    variable = f", or the variable {question.variable}" if question.variable else ""
    return f"{option}{question.name} in the answers file{variable}"


def read_answers(path: Path | None, *, is_private: bool = True) -> dict[str, str]:
    """Read an answers file; without one nothing. Raises WrongUsage, which quotes no answer."""
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
        is_open = path.stat().st_mode & 0o077
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}.") from error
    if not isinstance(document, dict):
        raise WrongUsage(f"{path} is no list of answers, name: value.")
    if unknown := sorted(str(name) for name in document if name not in BY_NAME):
        raise WrongUsage(f"{path} has no such answers: {', '.join(unknown)}. They are: {', '.join(BY_NAME)}")
    if is_private and is_open and any(BY_NAME[name].is_secret for name in document):
        raise WrongUsage(f"{path} holds secrets and can be read by others: chmod 600 {path}")
    return {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in document.items() if value is not None
    }  # fmt: skip


def gather(
    options: Mapping[str, str | int | Path | None],
    answers: Path | None,
    files: EnvFiles,
) -> Answers:
    """Bring together what is known. An option goes before the answers file, that before the environment."""
    path = files.folder / REMEMBERED
    given = read_answers(answers) | {name: str(value) for name, value in options.items() if value is not None}
    remembered = read_answers(path if path.exists() else None)
    return Answers(given, files, remembered, sys.stdin.isatty())
