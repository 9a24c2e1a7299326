"""``ensure --server``: submit jobs to a server and follow them as if they ran here.

The reporters, stdout and exit codes are those of a run on this machine. A signal cancels the jobs that this
command submitted, waits shortly for their end, and then leaves; a second signal leaves at once.
"""

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

from modelfetch.cli.output import begin_json, print_end, print_line, say
from modelfetch.cli.run import Ready, exit_with
from modelfetch.engine.events import RunFinished
from modelfetch.engine.stream import follow
from modelfetch.errors import ModelfetchError, UnknownModelError, UsageError
from modelfetch.model.paths import is_reference
from modelfetch.model.text import inert, sanitize
from modelfetch.remote import Job, NoTokenError, Run, ServerClient, find_address, no_server
from modelfetch.reporters import choose, error_lines, symbols_for
from modelfetch.signal_exit_codes import SIGNAL_BASE

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command; see :mod:`modelfetch.signal_exit_codes`."""

_OPTIONS = frozenset({"--server", "--token", "--quiet", "--json", "--verbose"})
"""The options of ``ensure`` that can be used with ``--server``; all others are settings of the server."""


def connect(server: str | None, token: str | None) -> ServerClient:
    """Create a client for the server that the options or the environment name.

    Raises:
        UsageError: The address or the token is missing or invalid.
        UnavailableError: There is no token, and no server runs at the address.
    """
    try:
        address = find_address(server, token, os.environ)
    except NoTokenError as error:
        _require_server(error.base)
        raise
    if address.is_exposed:
        say(f"warning: the token is sent to {address.base} unencrypted; use https or a tunnel")
    return ServerClient(address)


def _require_server(base: str) -> None:
    """Raise an error if no server runs: it is more useful than an error about the missing token."""
    from modelfetch.net.probe import Question, probe

    [reply] = probe([Question(base)])
    if reply.status is None:
        raise no_server(base, reply.error)


def ensure_on_server(
    context: typer.Context,
    names: Sequence[str],
    server: str | None,
    token: str | None,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Submit jobs that fetch models on a server, and follow them to their end.

    Args:
        context: The parsed command line: most options are for a run on this machine only.
        names: The models; empty for those of the project.
        server: Address of the server.
        token: Token of the server.
        json: Whether to print the server's events.
        quiet: Whether to print only the result and errors.

    Raises:
        UsageError: An option cannot be used with a server, or no model is named.
        ModelfetchError: The server refused a job, or cannot be reached.
    """
    _require_usable_options(server, _options_given(context))
    wanted = names or _project_models()
    with closing(connect(server, token)) as there:
        jobs = _submit(there, wanted)
        ready = Ready()
        finished = watch(there, jobs, json=json, quiet=quiet, ready=ready)
    if not json:
        print_lines(ready.directories[job.model] for job in jobs if job.model in ready.directories)
    exit_with(finished)


def watch(server: ServerClient, jobs: Sequence[Job], *, json: bool, quiet: bool, ready: Ready) -> RunFinished:
    """Follow jobs to their end or until a signal, and print the error if there is one."""
    originals = _Originals()
    run = Run(server, jobs, tap=originals.print if json else None)
    reporters = choose(
        json=False, quiet=quiet or json, stdout=sys.stdout, stderr=sys.stderr, environ=os.environ
    )
    if json:
        begin_json()
    with _on_signal(run.leave):
        finished = follow(run.events(), [*reporters, ready], clock=run.clock)
    if run.finished is None:  # a second signal came: leave without waiting for the jobs to end
        finished = run.abandoned(finished.exit_code)
    if json and finished.outcome == "failed" and originals.ends < len(jobs):
        print_end(finished)  # the server did not send it: it was lost, or restarted
    if not json:
        for line in error_lines(finished, symbols_for(sys.stderr.encoding)):
            say(line)
    return finished


class _Originals:
    """Prints records as the server sent them, escaped to printable ASCII.

    Attributes:
        ends: How many ends of runs are among them.
    """

    def __init__(self) -> None:
        self.ends = 0

    def print(self, document: dict[str, Any]) -> None:
        """Print one record."""
        self.ends += document.get("event") == RunFinished.kind
        print(inert(jsonlib.dumps(document, separators=(",", ":"))), flush=True)


@contextmanager
def _on_signal(leave: Callable[[int], None]) -> Iterator[None]:
    """Call ``leave`` on the first signal, and restore the default handlers for further signals."""

    def handle(number: int, _frame: FrameType | None) -> None:
        restore()
        leave(SIGNAL_BASE + number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # None is a handler that was not set by Python. An ignored signal stays ignored, as nohup wants it.
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: each for number, each in handlers.items() if each not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


def _options_given(context: Any) -> set[str]:
    """Long names of the options on the command line, without those set by default or environment."""
    return {
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.param_type_name == "option"
        and context.get_parameter_source(parameter.name).name == "COMMANDLINE"
    }


def _require_usable_options(server: str | None, given: Set[str]) -> None:
    if server is None:
        raise UsageError(
            "--token needs --server", hint="Add --server URL. The token of a hub is a variable: HF_TOKEN."
        )
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
    """Submit a job for each model; if one is refused, cancel those submitted before."""
    orders = dict(_find_or_add(server, name) for name in dict.fromkeys(names))
    jobs: list[Job] = []
    try:
        for model, operation in orders.items():
            jobs.append(server.submit(operation, model))
    except BaseException:  # Ctrl-C, too
        _cancel_jobs(server, jobs)
        raise
    return jobs


def _find_or_add(server: ServerClient, name: str) -> tuple[str, str]:
    """Look up a model; a reference that the server does not know is pinned there first."""
    try:
        return server.find_model(name)
    except UnknownModelError:
        if not is_reference(name):
            raise
    model, is_new = server.add(name)
    if is_new:
        say(f"pinned {sanitize(name)} as {sanitize(model)} on the server")
    return server.find_model(model)


def _cancel_jobs(server: ServerClient, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.is_ours:  # a job that was only joined belongs to another client
            try:
                server.cancel(job.id)
            except ModelfetchError as error:
                say(f"warning: {sanitize(error.message)}")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of a server's answer on stdout."""
    for line in lines:
        print_line(sanitize(line))
