"""The refusal of a project that cannot be edited."""

from ops.failures import CommandFailed

EXPORT_FIRST = "Nothing was changed. Run `hasura metadata export`, which writes it in another form."


class ProjectRefused(CommandFailed):
    """The project cannot be edited. Nothing was changed; the message names the file or the piece."""
