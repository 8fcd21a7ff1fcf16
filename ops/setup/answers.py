"""What the setup has to know: from options, an answers file, the environment, or asked on the terminal."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml

from leads.adapters.settings import Environment, Hop, SettingsError
from leads.domain.errors import IntegrationError
from leads.domain.hosts import host_of
from ops.clients.db_session import NO_URL, is_address
from ops.daily.token import read_configuration
from ops.failures import CommandFailed, WrongUsage, file_reason
from ops.files import write_file
from ops.metadata.directory import parse
from ops.output import say
from ops.settings import read_variable
from ops.setup.env_files import EnvFiles, belongs_to_another, check_value

SCHEMES = ("postgresql://", "postgres://")
REMEMBERED = "answers.yaml"
"""The file of the folder with the answers that are no secrets and in no environment file."""
Accepted = TypeVar("Accepted")


class Way(StrEnum):
    """How handlers and edge run; docs/production.md has each."""

    COMPOSE = "compose"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True)
class Question:
    """Something to know: a row of questions.yaml, which says what its fields are."""

    name: str
    variable: str = ""
    text: str = ""
    file: str = ""
    key: str = ""
    option: str = ""
    is_secret: bool = False
    is_url: bool = False
    hop: Hop | None = None
    default: str | None = None

    @classmethod
    def of_row(cls, name: str, row: Mapping[str, Any]) -> "Question":
        option = "" if row.get("is_secret") or not row.get("text") else f"--{name.replace('_', '-')}"
        return cls(name, **{"key": row.get("variable", ""), "option": option, **row})


QUESTIONS = {
    name: Question.of_row(name, row)
    for name, row in parse(Path(__file__).with_name("questions.yaml")).items()
}


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
            self.known[name] = self._find(QUESTIONS[name])
        return self.known[name]

    def is_of_file(self, name: str) -> bool:
        """Whether an environment file has the answer, as a run before wrote it."""
        return bool(self._of_file(QUESTIONS[name]))

    def _of_file(self, question: Question) -> str:
        return self.files.get(question.key, question.file) if question.file else ""

    def check_given(self) -> None:
        """Raise WrongUsage if an option or an answer of the file cannot be right; nothing was asked yet."""
        _refuse(self._problem(name, each) for name, each in self.given.items() if not self.is_of_file(name))

    def ask(self, *names: str) -> None:
        """Ask for each answer that is missing or wrong. Raises WrongUsage without a terminal."""
        problems = {name: self._problem(name, self[name]) for name in names if not self.is_of_file(name)}
        if not self.is_terminal:
            _refuse(problems.values())
            missing = [QUESTIONS[name] for name in names if not self[name]]
            lines = [f"  {each.text}: {_where(each)}" for each in missing]
            _refuse(
                ["Not known yet:", *lines, "Give them so, or run this on a terminal to be asked."]
                if lines
                else ()
            )
        for name in names:
            if problems.get(name) or not self[name]:
                self.ask_again(name, problems.get(name, ""))

    def ask_again(self, name: str, problem: str) -> None:
        """Ask on the terminal, until the answer can be right: one mistake costs no answer before it."""
        answer = ""
        while problem or not answer:
            if problem:
                say(f"  {problem}")
            answer = self._prompted(name)
            problem = self._problem(name, answer)
        self.known[name] = answer

    def offer(self, *names: str) -> None:
        """Ask on a terminal for each answer that is not known and may be left out."""
        for name in names if self.is_terminal else ():
            while not self[name] and (answer := self._prompted(name, default="")):
                if problem := self._problem(name, answer):
                    say(f"  {problem}")
                else:
                    self.known[name] = answer

    @staticmethod
    def _prompted(name: str, default: str | None = None) -> str:
        text, is_secret = QUESTIONS[name].text, QUESTIONS[name].is_secret
        asked = typer.prompt(text, default, hide_input=is_secret, show_default=False, err=True)
        return str(asked).strip()

    def until_accepted(self, attempt: Callable[[], Accepted], blamed: Callable[[Exception], str]) -> Accepted:
        """Return what the attempt returns; on a terminal ask again for the answer that a service refused.

        Elsewhere, and for an answer of an environment file, raise what the attempt raised.
        """
        while True:
            try:
                return attempt()
            except (CommandFailed, IntegrationError) as error:
                if not self.is_terminal or self.is_of_file(name := blamed(error)):
                    raise
                problem = str(error)
            self.ask_again(name, problem)

    def _problem(self, name: str, answer: str) -> str:
        """Return what is wrong with an answer, as far as it shows; it quotes no answer. Empty: nothing."""
        answer = answer.strip()
        try:
            if not answer:
                return ""
            if QUESTIONS[name].is_url:
                values = {name: answer, "ALLOW_CLEAR_TEXT": self["allow_clear_text"]}
                read = Environment({name: "http://HOST:PORT, or https"}, may_have=[name], environment=values)
                read.base_url(name, QUESTIONS[name].hop)
                read.raise_problems()
            if name == "jwt_secret":
                read_configuration(answer)
            if QUESTIONS[name].file:
                check_value(name, answer)
        except SettingsError as error:
            return "; ".join(error.problems)
        except WrongUsage as error:
            return str(error)
        if name == "owner_database_url" and not (answer.startswith(SCHEMES) and is_address(answer)):
            return f"OWNER_DATABASE_URL {NO_URL}"
        if name == "api_url" and host_of(answer) is None:
            return f"{answer!r} is not a base URL, for example https://crm.pancake.vn/api"
        if name == "way":
            return _way_problem(answer)
        if name == "project" and not Path(answer).is_dir():
            return f"{answer} is no folder"
        if name == "workspace" and not (answer.isascii() and answer.isdecimal()):
            return "workspace is no whole number; Pancake's URL has it, for example 607"
        return ""

    def _find(self, question: Question) -> str:
        of_file, given = self._of_file(question), self.given.get(question.name, "").strip()
        if of_file and given and given != of_file:
            path = self.files.folder / question.file
            raise WrongUsage(
                f"{path} has another {question.key}, which is never overwritten. Correct it there, or leave "
                "the answer out."
            )
        return (
            of_file or given or (question.variable and read_variable(question.variable).strip())
            or self.remembered.get(question.name, "") or self._default(question)
        )  # fmt: skip

    def _default(self, question: Question) -> str:
        if question.name == "edge_status_url" and self["way"] == Way.KUBERNETES:
            return "http://edge.pancake-diva.svc.cluster.local:9145"
        return question.default or ""

    def remember(self) -> None:
        """Write the answers for the next run that are no secret and in no other file. Raises OSError."""
        names = [name for name, each in QUESTIONS.items() if not (each.variable or each.file)]
        kept = {name: self[name] for name in names if self[name] and name != "jwt_private_key"}
        if kept != self.remembered:
            write_file(self.files.folder / REMEMBERED, yaml.safe_dump(kept, allow_unicode=True))


def _way_problem(way: object) -> str:
    return "" if way in list(Way) else f"way is {way!r}; it can be {', '.join(Way)} (docs/production.md)"


def _refuse(problems: Iterable[str]) -> None:
    if found := [each for each in problems if each]:
        raise WrongUsage("\n".join(found))


def _where(question: Question) -> str:
    option = f"{question.option}, " if question.option else ""
    variable = f", or the variable {question.variable}" if question.variable else ""
    return f"{option}{question.name} in the answers file{variable}"


def read_answers(path: Path | None) -> dict[str, str]:
    """Read an answers file; without one nothing. Raises WrongUsage, which quotes no answer."""
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
        is_open, is_foreign = path.stat().st_mode & 0o077, belongs_to_another(path)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise WrongUsage(f"{path} cannot be read: {file_reason(error)}.") from error
    if is_foreign:
        raise WrongUsage(f"{path} belongs to another user: look at it, then chown it, or remove it")
    if not isinstance(document, dict):
        raise WrongUsage(f"{path} is no list of answers, name: value.")
    if unknown := sorted(str(name) for name in document if name not in QUESTIONS):
        known = ", ".join(QUESTIONS)
        raise WrongUsage(f"{path} has no such answers: {', '.join(unknown)}. They are: {known}")
    if (way := document.get("way")) and (problem := _way_problem(way)):
        raise WrongUsage(f"{path}: {problem}")
    if is_open and any(QUESTIONS[name].is_secret for name in document):
        raise WrongUsage(f"{path} holds secrets and can be read by others: chmod 600 {path}")
    return {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in document.items() if value is not None
    }  # fmt: skip


def gather(options: Mapping[str, str | None], answers: Path | None, files: EnvFiles) -> Answers:
    """Bring together what is known. An option goes before the answers file, that before the environment."""
    path = files.folder / REMEMBERED
    given = read_answers(answers) | {name: value for name, value in options.items() if value is not None}
    remembered = read_answers(path if path.exists() else None)
    return Answers(given, files, remembered, sys.stdin.isatty())
