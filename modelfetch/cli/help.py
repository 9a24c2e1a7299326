"""Help of commands: groups without a subcommand, unknown subcommands, and examples.

:class:`Commands` is the class of ``modelfetch`` and of its groups. Without arguments it prints its help on
stderr and fails. For an unknown subcommand it suggests one: ``modelfetch fetch`` answers ``did you mean
ensure?``. :func:`epilog` adds the examples at the end of each help text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup

from modelfetch.cli.output import say
from modelfetch.cli.verbosity import add_verbose_option
from modelfetch.errors import UsageError
from modelfetch.model.text import quote
from modelfetch.signal_exit_codes import SIGINT_EXIT

EXIT_USAGE: Final = UsageError.exit_code

ALIASES: Final[Mapping[str, str]] = {
    "get": "ensure",
    "info": "show",
    "ls": "list",
    "pull": "ensure",
    "rm": "remove",
}
"""Further names of commands, which the help does not list: those of other tools with one clear meaning."""

_SYNONYMS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "modelfetch": {
        "ensure": ("download", "install", "fetch", "sync", "prefetch", "load", "resume"),
        "plan": ("dry-run", "preview", "status"),
        "verify": ("check", "validate", "test", "hash", "checksum", "repair", "fix"),
        "add": ("pin", "lock", "register", "new", "create"),
        "adopt": ("scan", "link", "claim"),
        "bundle": ("export", "import", "pack", "archive", "save", "tar"),
        "list": ("models", "search", "catalog", "cache", "du"),
        "show": ("inspect", "view", "describe", "cat"),
        "path": ("which", "where", "locate", "dir"),
        "find": ("lookup", "has", "whereis"),
        "cid": ("multihash",),
        "publish": ("announce", "share"),
        "remove": ("delete", "del", "uninstall"),
        "gc": ("clean", "prune", "cleanup", "reclaim"),
        "outdated": ("stale", "updates", "behind"),
        "upgrade": ("update", "bump", "move", "relock"),
        "diff": ("compare", "changes"),
        "history": ("runs",),
        "log": ("logs",),
        "metrics": ("stats", "statistics"),
        "sources": ("mirrors", "hosts", "ping"),
        "doctor": ("diagnose", "diagnostics", "debug", "troubleshoot", "selftest"),
        "serve": ("server", "start", "daemon", "ui"),
        "jobs": ("ps", "top", "queue"),
        "attach": ("follow", "watch", "tail"),
        "cancel": ("stop", "kill", "abort"),
        "quarantine": ("evidence", "bad"),
        "swarm": ("torrent", "bittorrent", "p2p", "magnet"),
        "cache-key": ("key", "cachekey"),
        "ci": ("recipe", "github", "gitlab", "docker", "dockerfile", "compose", "kubernetes"),
        "completion": ("completions", "autocomplete"),
        "config": ("settings", "configure", "set", "env"),
        "--help": ("help",),
        "--version": ("version",),
    },
    "bundle": {
        "create": ("new", "make", "write", "export", "pack", "save"),
        "inspect": ("show", "list", "ls", "info", "view"),
        "import": ("load", "add", "read", "unpack", "extract", "install"),
        "verify": ("check", "validate", "test"),
        "push": ("upload", "publish", "send"),
        "pull": ("download", "fetch", "get"),
    },
    "config": {
        "show": ("list", "ls", "get", "view", "cat", "dump"),
        "set": ("edit", "add", "write"),
        "unset": ("rm", "remove", "delete", "del", "reset"),
        "path": ("where", "which", "file", "dir"),
    },
    "swarm": {
        "publish": ("create", "make", "new", "announce", "torrent", "magnet"),
    },
    "quarantine": {
        "list": ("ls",),
        "show": ("get", "view", "cat", "info"),
        "restore": ("undo", "back", "recover", "move"),
        "purge": ("rm", "remove", "delete", "del", "clean", "gc"),
    },
}
"""Names of the commands of a group in other tools."""

_INSTEAD: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("login", "logout", "auth", "whoami"),
        "Tokens are variables: HF_TOKEN (or `hf auth login`), MODELSCOPE_API_TOKEN, GITHUB_TOKEN.",
    ),
    **dict.fromkeys(
        ("run", "chat", "generate"),
        "modelfetch does not run models; `modelfetch path NAME` prints where the files are.",
    ),
    **dict.fromkeys(
        ("push", "upload"),
        "`modelfetch bundle push NAME oci:REGISTRY/REPO` pushes to a registry, `modelfetch publish NAME` to "
        "IPFS; hubs have tools of their own.",
    ),
    **dict.fromkeys(
        ("hf", "huggingface-cli"), "`modelfetch ensure hf:ORG/REPO` fetches what `hf download ORG/REPO` does."
    ),
    "ollama": "`modelfetch ensure ollama:NAME` fetches what `ollama pull NAME` does.",
    **dict.fromkeys(
        ("cp", "copy", "export"), "`modelfetch ensure NAME --to DIR` places the files in a directory."
    ),
    "init": "A file modelfetch.toml makes a directory a project; it may be empty.",
}
"""Commands of other tools that modelfetch does not have, and what there is instead."""

EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "modelfetch ensure whisper-base",
        "modelfetch ensure hf:Qwen/Qwen3-0.6B",
        "modelfetch verify",
    ),
    "ensure": (
        "modelfetch ensure whisper-base",
        "modelfetch ensure hf:Qwen/Qwen3-0.6B",
        "d=$(modelfetch ensure whisper-base --quiet)",
        "modelfetch ensure whisper-base --offline",
        "modelfetch ensure whisper-base --from models.tar --offline",
        "modelfetch ensure whisper-base --to ./model --limit-rate 8M",
    ),
    "plan": (
        "modelfetch plan whisper-base",
        "modelfetch plan --json",
    ),
    "verify": (
        "modelfetch verify",
        "modelfetch verify whisper-base --repair",
        "modelfetch verify --quick --quiet",
        "modelfetch verify --sample 20",
        "modelfetch verify --hf org/name",
    ),
    "add": (
        "modelfetch add hf:Qwen/Qwen3-0.6B",
        "modelfetch add https://huggingface.co/Qwen/Qwen3-0.6B/tree/main",
        "modelfetch add hf:Qwen/Qwen3-8B-GGUF --include '*Q4_K_M*' --name qwen3-q4",
        "modelfetch add hf:Qwen/Qwen3-0.6B ms:Qwen/Qwen3-0.6B --dry-run",
    ),
    "adopt": (
        "modelfetch adopt hf --dry-run",
        "modelfetch adopt hf:org/name --name mine",
        "modelfetch adopt ollama:llama3.2:1b",
        "modelfetch adopt ~/models/llama --name llama",
    ),
    "bundle": (
        "modelfetch bundle create whisper-base -o models.tar",
        "modelfetch bundle import models.tar",
    ),
    "bundle create": (
        "modelfetch bundle create whisper-base -o models.tar",
        "modelfetch bundle create whisper-base -o models.tar --with-verifier",
        "modelfetch bundle create whisper-base -o models.tar --volume-size 4GB",
        "modelfetch bundle create whisper-base -o image.tar --form image",
    ),
    "bundle inspect": ("modelfetch bundle inspect models.tar",),
    "bundle import": (
        "modelfetch bundle import models.tar",
        "modelfetch bundle import /media/usb/models.tar.001",
    ),
    "bundle verify": ("modelfetch bundle verify models.tar",),
    "bundle push": (
        "modelfetch bundle push whisper-base oci:registry.example/models/whisper-base",
        "modelfetch bundle push --from models.tar oci:registry.example/models",
    ),
    "bundle pull": ("modelfetch bundle pull oci:registry.example/models/whisper-base:1",),
    "list": (
        "modelfetch list",
        "modelfetch list whisper --sort size",
        "modelfetch list --task speech '*-q8'",
        "modelfetch list --present --size --sort used",
        "modelfetch list --present --json",
    ),
    "show": ("modelfetch show whisper-base",),
    "path": (
        "modelfetch path whisper-base",
        "modelfetch path whisper-base onnx/encoder_model.onnx",
    ),
    "find": (
        "modelfetch find model.gguf",
        "modelfetch find model.gguf --json",
    ),
    "cid": (
        "modelfetch cid model.gguf",
        "modelfetch cid ./model --profile unixfs-v0-2015",
    ),
    "publish": (
        "modelfetch publish my-model --to kubo",
        "modelfetch publish my-model --car my-model.car",
        "modelfetch publish ./model --to pinata --dry-run",
    ),
    "remove": (
        "modelfetch remove whisper-base --dry-run",
        "modelfetch remove whisper-base demo",
        "modelfetch remove my-model --version 1846881b6b3a",
        "modelfetch remove my-model --unpin",
    ),
    "gc": (
        "modelfetch gc --dry-run",
        "modelfetch gc --max-size 20GiB --root ~/projects",
        "modelfetch gc --unused-for 30d --keep whisper-base",
    ),
    "outdated": (
        "modelfetch outdated",
        "modelfetch outdated my-model --exit-code",
    ),
    "upgrade": (
        "modelfetch upgrade my-model --dry-run",
        "modelfetch upgrade my-model",
        "modelfetch upgrade my-model --revision v2.0",
    ),
    "diff": (
        "modelfetch diff my-model",
        "modelfetch diff my-model 1846881b6b3a 9f2c11aa0034",
    ),
    "history": (
        "modelfetch history",
        "modelfetch history --since 7d --plot",
    ),
    "log": (
        "modelfetch log",
        "modelfetch log 3f9c",
    ),
    "metrics": (
        "modelfetch metrics --since 7d",
        "modelfetch metrics summary",
        "modelfetch metrics --prometheus",
    ),
    "sources": (
        "modelfetch sources",
        "modelfetch sources --probe",
    ),
    "doctor": (
        "modelfetch doctor",
        "modelfetch doctor whisper-base",
        "modelfetch doctor --offline --json",
    ),
    "serve": (
        "modelfetch serve",
        "modelfetch serve --host 0.0.0.0 --cert cert.pem --key key.pem",
        "modelfetch serve --host 0.0.0.0 --share",
        "modelfetch serve --host 0.0.0.0 --share --fetch",
    ),
    "jobs": (
        "modelfetch jobs",
        "modelfetch jobs --server 'http://127.0.0.1:8765/#token=...'",
    ),
    "attach": ("modelfetch attach 3f9c",),
    "cancel": ("modelfetch cancel 3f9c",),
    "retry": (
        "modelfetch retry 3f9c",
        "modelfetch attach $(modelfetch retry 3f9c)",
    ),
    "cache-key": (
        "modelfetch cache-key",
        "modelfetch cache-key whisper-base",
    ),
    "ci": (
        "modelfetch ci github > .github/workflows/models.yml",
        "modelfetch ci docker whisper-base > Containerfile",
    ),
    "completion": ("modelfetch completion zsh > /usr/share/zsh/site-functions/_modelfetch",),
    "man": ("modelfetch man > modelfetch.1",),
    "config": (
        "modelfetch config show",
        "modelfetch config set network.limit_rate 8M",
    ),
    "config show": (
        "modelfetch config show",
        "modelfetch config show --json",
    ),
    "config set": (
        "modelfetch config set network.files 8",
        "modelfetch config set sources.order local,mirror,huggingface",
    ),
    "config unset": ("modelfetch config unset network.files",),
    "config path": ("modelfetch config path",),
    "quarantine": (
        "modelfetch quarantine list",
        "modelfetch quarantine purge --all",
    ),
    "quarantine list": ("modelfetch quarantine list",),
    "quarantine show": ("modelfetch quarantine show 3f9c1d",),
    "quarantine restore": ("modelfetch quarantine restore 3f9c1d --to ./model.bin",),
    "quarantine purge": (
        "modelfetch quarantine purge 3f9c1d",
        "modelfetch quarantine purge --all --dry-run",
    ),
    "swarm": ("modelfetch swarm publish whisper-base",),
    "swarm publish": (
        "modelfetch swarm publish whisper-base",
        "modelfetch swarm publish whisper-base --tracker udp://tracker.example.org:6969",
    ),
}
"""Examples by command; the key is what follows ``modelfetch``."""


class Commands(TyperGroup):
    """A group of commands. It has the option ``--verbose``, and so has each of its commands.

    An interrupt keeps the exit code of its signal; typer alone would exit as after Ctrl-C for SIGTERM, too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for command in (self, *self.commands.values()):
            add_verbose_option(command)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as end:
            raise typer.Exit(getattr(end, "exit_code", SIGINT_EXIT)) from end

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help on stderr and exit with the code for wrong usage.

        The help was not requested, so it is no data for stdout, and the exit code shows a script whose
        variable was empty that nothing was done.
        """
        if not args and not ctx.resilient_parsing:
            for line in ctx.get_help().splitlines():
                say(line)
            raise typer.Exit(EXIT_USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            UsageError: There is none. The message suggests a command with a similar name or meaning.
        """
        if ctx.parent is None:  # the groups below have commands of their own with such names
            args = [ALIASES.get(args[0], args[0]), *args[1:]]
        word = args[0]
        if ctx.resilient_parsing or word.startswith("-") or self.get_command(ctx, word) is not None:
            return super().resolve_command(ctx, args)
        shown = word if word.isascii() and word.isalnum() else quote(word)
        # Groups have commands of such names: `bundle export` means `bundle create`.
        if ctx.parent is None and (instead := _INSTEAD.get(word.casefold())):
            raise UsageError(f"no such command {shown}", hint=instead)
        guess = suggest(word, f"{ctx.info_name}", self.list_commands(ctx))
        raise UsageError(
            f"no such command {shown}{f'; did you mean {guess}?' if guess else ''}",
            hint=f"Run `{ctx.command_path} {guess if guess.startswith('-') else f'{guess} --help'.strip()}`.",
        )


def suggest(word: str, group: str, commands: Sequence[str]) -> str:
    """Suggest a command for a word, by spelling or by its name in other tools; empty if none is close."""
    from difflib import get_close_matches

    word = word.casefold()
    synonyms = {
        synonym: command for command, names in _SYNONYMS.get(group, {}).items() for synonym in names
    } | dict(zip(commands, commands, strict=True))
    # The time of the comparison grows with the square of the length, so a long word is cut first.
    close = get_close_matches(word[:64], synonyms, n=1, cutoff=0.7)
    return synonyms[close[0]] if close else ""


def epilog(command: str = "") -> str:
    """Examples for the end of a command's help."""
    lines = "\n".join(f"  {example}" for example in EXAMPLES[command])
    # A backspace on a line of its own tells click to keep the line breaks of the paragraph.
    return f"\b\nExamples:\n{lines}"
