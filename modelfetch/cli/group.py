"""A command with sub-commands: what it says when it is called without one, or with one that it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup

from modelfetch.cli.talk import say
from modelfetch.errors import UsageError
from modelfetch.model.text import quote

EXIT_USAGE: Final = UsageError.exit_code

_MEANT: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "modelfetch": {
        "ensure": ("pull", "get", "download", "install", "fetch", "sync", "prefetch", "load", "resume"),
        "plan": ("dry-run", "preview", "status"),
        "verify": ("check", "validate", "test", "hash", "checksum", "repair", "fix"),
        "list": ("ls", "models", "search", "catalog"),
        "show": ("info", "inspect", "view", "describe", "cat"),
        "path": ("which", "where", "locate", "dir"),
        "remove": ("rm", "delete", "del", "uninstall", "clean", "prune", "purge"),
        "history": ("runs",),
        "log": ("logs",),
        "metrics": ("stats", "statistics"),
        "sources": ("mirrors", "hosts", "ping"),
        "serve": ("server", "start", "run", "daemon", "ui"),
        "jobs": ("ps", "top", "queue"),
        "attach": ("follow", "watch", "tail"),
        "cancel": ("stop", "kill", "abort"),
        "config": ("settings", "configure", "set", "env"),
        "--help": ("help", "man"),
        "--version": ("version",),
    },
    "config": {
        "show": ("list", "ls", "get", "view", "cat", "dump"),
        "set": ("edit", "add", "write"),
        "unset": ("rm", "remove", "delete", "del", "reset"),
        "path": ("where", "which", "file", "dir"),
    },
}
"""What other tools call the commands of a group."""


class Commands(TyperGroup):
    """The commands. An interrupt keeps its own exit code, where typer would make 130 of SIGTERM, too."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as end:
            raise typer.Exit(getattr(end, "exit_code", 130)) from end

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; without a single word, say what there is.

        Nobody asked for that, so it is talk, and nothing was done: a script whose variable was empty notices.
        """
        if not args and not ctx.resilient_parsing:
            for line in ctx.get_help().splitlines():
                say(line)
            raise typer.Exit(EXIT_USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first word names.

        Raises:
            UsageError: There is none; with the one that was meant, where that can be guessed.
        """
        word = args[0]
        if ctx.resilient_parsing or word.startswith("-") or self.get_command(ctx, word) is not None:
            return super().resolve_command(ctx, args)
        guess = meant(word, f"{ctx.info_name}", self.list_commands(ctx))
        shown = word if word.isascii() and word.isalnum() else quote(word)
        raise UsageError(
            f"no such command {shown}{f'; did you mean {guess}?' if guess else ''}",
            hint=f"{ctx.command_path} {guess if guess.startswith('-') else f'{guess} --help'.strip()}",
        )


def meant(word: str, group: str, commands: Sequence[str]) -> str:
    """The command that a word probably stands for; empty where none comes to mind."""
    from difflib import get_close_matches

    word = word.casefold()
    synonyms = {
        synonym: command for command, names in _MEANT.get(group, {}).items() for synonym in names
    } | dict(zip(commands, commands, strict=True))
    close = get_close_matches(word[:64], synonyms, n=1, cutoff=0.7)
    return synonyms[close[0]] if close else ""
