"""Runs on a server, followed from here: the same faces, the same stdout, the same exit codes."""

from __future__ import annotations

import json as jsonlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any

import typer

from modelfetch.cli.output import put, say
from modelfetch.cli.run import Ready, leave
from modelfetch.engine.events import RunFinished
from modelfetch.engine.stream import follow
from modelfetch.errors import ModelfetchError, UsageError
from modelfetch.exit_codes import SIGNAL_BASE
from modelfetch.model.text import inert, sanitise
from modelfetch.remote import Job, NoTokenError, Run, ServerClient, find_address, nobody
from modelfetch.reporters import choose, error_lines, symbols_for

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What asks a command to end; its exit code is then 128 and the number, as shells have it."""

_OPTIONS = frozenset({"--server", "--token", "--quiet", "--json"})
"""What ``ensure`` can be told when it is a server that does it."""


def connect(server: str | None, token: str | None) -> ServerClient:
    """Find the server that options and environment name.

    Raises:
        UsageError: They name none that can be asked.
        UnavailableError: There is no token, and nobody who could want one.
    """
    try:
        address = find_address(server, token, os.environ)
    except NoTokenError as error:
        _require_somebody(error.base)
        raise
    if address.is_exposed:
        say(f"warning: the token is sent to {address.base} unencrypted; use https or a tunnel")
    return ServerClient(address)


def _require_somebody(base: str) -> None:
    """Who has no token because no server runs is not to be sent looking for one."""
    from modelfetch.net.probe import Question, probe

    [reply] = probe([Question(base)])
    if reply.status is None:
        raise nobody(base, reply.error)


def ensure(
    context: typer.Context,
    names: Sequence[str],
    server: str | None,
    token: str | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Have a server make models present, and follow it as if it happened here.

    Args:
        context: Says which options were given: most are for a run on this machine only.
        names: The models; none means the project's.
        server: Its address.
        token: Its token.
        json: Whether to print the server's events.
        quiet: Whether to say nothing but the result and errors.

    Raises:
        UsageError: An option was given that the server cannot be told, or no model is named.
        ModelfetchError: The server refused.
    """
    _require_sense(server, _options_given(context))
    wanted = names or _project_models()
    with closing(connect(server, token)) as there:
        jobs = _submit(there, wanted)
        ready = Ready()
        finished = watch(there, jobs, json=json, quiet=quiet, ready=ready)
    if not json:
        echo(ready.directories[job.model] for job in jobs if job.model in ready.directories)
    leave(finished)


def watch(server: ServerClient, jobs: Sequence[Job], *, json: bool, quiet: bool, ready: Ready) -> RunFinished:
    """Follow jobs to their end, or until a signal; say at the end what is left to say."""
    run = Run(server, jobs, tap=_print_original if json else None)
    reporters = choose(
        json=False, quiet=quiet or json, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ
    )
    with _asking(run.leave):
        finished = follow(run.events(), [*reporters, ready], clock=run.clock)
    if run.finished is None:  # a second signal: by then nothing is waited for
        finished = run.abandoned(finished.exit_code)
    if not json:
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


def _print_original(document: dict[str, Any]) -> None:
    """Print a record as the server sent it."""
    print(inert(jsonlib.dumps(document, separators=(",", ":"))), flush=True)


@contextmanager
def _asking(leave: Callable[[int], None]) -> Iterator[None]:
    """Let the first signal ask for the end, and leave any further one to do what it always does."""

    def ask(number: int, _frame: FrameType | None) -> None:
        restore()
        leave(SIGNAL_BASE + number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: each for number, each in handlers.items() if each not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()


def _options_given(context: Any) -> set[str]:
    """The options on the command line, by their long names."""
    return {
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.param_type_name == "option"
        and context.get_parameter_source(parameter.name).name == "COMMANDLINE"
    }


def _require_sense(server: str | None, given: Set[str]) -> None:
    if server is None:
        raise UsageError("--token needs --server", hint="Add --server URL, or leave out --token.")
    if local := given - _OPTIONS:
        raise UsageError(
            f"{', '.join(sorted(local))} cannot be used with --server",
            hint="The server uses its own settings. Leave the option out, or change the setting there.",
        )


def _project_models() -> Sequence[str]:
    from modelfetch.workspace import Workspace

    models = Workspace.open().loaded.models
    if not models:
        raise UsageError(
            "no model is named", hint="Name one, or run the command where modelfetch.toml lists models."
        )
    return models


def _submit(server: ServerClient, names: Sequence[str]) -> list[Job]:
    """Submit all or, where one is refused, none."""
    orders = dict(server.find_model(name) for name in dict.fromkeys(names))
    jobs: list[Job] = []
    try:
        for model, operation in orders.items():
            jobs.append(server.submit(operation, model))
    except BaseException:
        _withdraw(server, jobs)
        raise
    return jobs


def _withdraw(server: ServerClient, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.is_ours:
            try:
                server.cancel(job.id)
            except ModelfetchError as error:
                say(f"warning: {sanitise(error.message)}")


def echo(lines: Iterable[str]) -> None:
    """Print what a server said on stdout, a line each."""
    for line in lines:
        put(sanitise(line))
