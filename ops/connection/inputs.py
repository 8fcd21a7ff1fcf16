"""Read secrets from prompts, files or variables, and print or write new ones. Secrets are never arguments."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ops.connection.connection_secrets import new_secret
from ops.output import say
from ops.settings import read_variable

OutFile = Annotated[Path | None, typer.Option("--out", help="Write the secret to this new file (mode 0600).")]
InFile = Annotated[Path | None, typer.Option("--file", help="Read the secret from this file; - is stdin.")]
Variable = Annotated[str | None, typer.Option(help="Read the secret from this environment variable.")]
ReplaceUnreadable = Annotated[
    bool,
    typer.Option(
        "--replace-unreadable",
        help="Even if a stored secret cannot be opened: its key is lost, or the base URL was changed.",
    ),
]
Generate = Annotated[bool, typer.Option("--generate", help="Generate one and show it once.")]


def read_secret(
    label: str,
    file: Path | None = None,
    variable: str | None = None,
    generate: bool = False,
    min_characters: int = 1,
) -> str:
    """Read a secret from a file (`-` is stdin), a variable or a hidden prompt, or generate one.

    Raises typer.BadParameter if no secret is given, or a shorter one.
    """
    if generate:
        return new_secret()
    if file is not None:
        value = sys.stdin.read() if str(file) == "-" else _read(file)
    elif variable is not None:
        value = read_variable(variable)
    elif sys.stdin.isatty():
        value = typer.prompt(label, hide_input=True, confirmation_prompt=True, err=True)
    else:
        raise typer.BadParameter(f"{label}: give --file or --variable, or run this in a terminal to be asked")
    value = value.strip()
    if not value or any(character.isspace() for character in value):
        raise typer.BadParameter(f"{label}: empty, or with white space inside")
    if len(value) < min_characters:
        raise typer.BadParameter(f"{label}: give at least {min_characters} characters, or --generate")
    return value


def show_once(label: str, value: str, file: Path | None, *, printed: bool = True) -> None:
    """Print a secret, or write it to a new file that only its owner may read.

    It is stored only as a hash or encrypted, so it cannot be shown again.
    Without `printed` the caller prints it.
    """
    if file is None:
        if printed:
            say(f"{label}, shown only once:")
            typer.echo(value)
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be created: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as out:
        out.write(value + "\n")
    say(f"{label} is in {file}.")


def check_free(file: Path | None) -> None:
    """Raise typer.BadParameter if the file for a new secret exists, before anything is changed."""
    if file is not None and (file.exists() or not file.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{file} exists already, or its folder does not")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} cannot be read: it is not text in UTF-8") from error
