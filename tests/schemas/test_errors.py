"""With ``--json`` an error before a result is JSON, from every command, in the form of its results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelfetch.cli import output, queries, run
from modelfetch.cli.help import ALIASES
from modelfetch.cli.output import EVENT_COMMANDS, prints_events
from modelfetch.engine.events import ErrorInfo, RunFinished, RunStarted
from modelfetch.errors import StoreError
from modelfetch.workspace import Workspace
from tests.e2e.command import InProcess, Result
from tests.origin import Origin, model
from tests.remote.scripted import (
    JOB,
    Script,
    document,
    frames,
    records_of,
    refusal,
    serving,
    snapshot,
    stream,
)
from tests.schemas.calls import CALLS, NOBODY, line, naming
from tests.test_docs import COMMANDS

WITHOUT_SETTINGS = {
    *("jobs", "attach", "cancel", "retry", "completion", "man", "cid"),
    *("bundle inspect", "bundle verify", "config set", "config unset", "config path"),
}
"""Commands that read no settings, and so work where those are wrong."""


@dataclass(frozen=True)
class Kind:
    """A kind of error before a result."""

    code: str
    exit_code: int
    commands: Iterable[str]
    """Which commands have it."""
    model: str = "demo"
    """What they are called with."""
    env: Mapping[str, str] = field(default_factory=dict)
    more: Sequence[str] = ()
    """Further words."""


KINDS = {
    "unknown option": Kind("usage", 2, CALLS, more=["--frobnicate"]),
    "wrong settings": Kind(
        "config",
        2,
        [command for command in CALLS if command not in WITHOUT_SETTINGS],
        env={"MODELFETCH_NETWORK_FILES": "0", "MODELFETCH_RETRY_BASE": "soon"},
    ),
    "bad manifest": Kind("bad_manifest", 3, [*naming()], model="broken"),
    "unknown model": Kind("unknown_model", 3, [*naming()], model="absent"),
    "offline": Kind(
        "offline",
        4,
        ["path", "add", "bundle create", "outdated", "upgrade", "sources"],
        env={"MODELFETCH_OFFLINE": "1"},
    ),
    "offline, with a reference": Kind("offline", 4, ["ensure"], "hf:org/repo", {"MODELFETCH_OFFLINE": "1"}),
    "no server": Kind("unavailable", 6, ["jobs", "attach", "cancel", "retry"]),
    "no server, to run on": Kind("unavailable", 6, ["ensure"], more=NOBODY),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> InProcess:
    """Commands with a manifest that is broken, a model to add, and a file where a directory should be."""
    cli = InProcess(tmp_path_factory.mktemp("json"))
    (cli.catalog / "broken.toml").write_text("schema = 1\n")
    (cli.work / "file").write_text("")
    (cli.work / "model").mkdir()
    (cli.work / "model" / "a.bin").write_bytes(b"a")
    return cli


def error_of(cli: InProcess, words: Sequence[str], **env: str) -> tuple[int, str]:
    """The exit code and the code of the error of a command that fails before it has a result.

    What it prints is compared with its schema by the call itself.
    """
    result = cli(*words, "--json", **env)
    assert "error: " not in result.err
    document = only_line(result)
    is_event = prints_events(words)
    assert is_event == (document.get("event") == "run_finished")
    assert document["exit_code"] == result.code
    if is_event:
        assert (document["outcome"], document["n"], document["files"]) == ("failed", 0, [])
    return result.code, document["error"]["code"]


def only_line(result: Result) -> dict[str, Any]:
    [line] = result.lines
    document: dict[str, Any] = json.loads(line)
    return document


def test_every_command_is_called() -> None:
    assert {f"modelfetch {command}" for command in CALLS} == {*COMMANDS}


@pytest.mark.quick(every=2)
@every_kind
def test_an_error_before_a_result_is_json(cli: InProcess, kind: Kind) -> None:
    called = {
        command: error_of(cli, [*line(command, kind.model), *kind.more], **kind.env)
        for command in kind.commands
    }
    assert called == dict.fromkeys(called, (kind.exit_code, kind.code))


@pytest.mark.slow
@every_kind
def test_the_exit_code_is_the_same_without_json(cli: InProcess, kind: Kind) -> None:
    for command in kind.commands:
        plain = cli(*line(command, kind.model), *kind.more, **kind.env)
        assert plain.code == kind.exit_code, command
        assert "error: " in plain.err


def test_several_errors_are_each_in_the_details(cli: InProcess) -> None:
    for command in ("ensure", "list"):
        error = only_line(cli(*line(command), "--json", **KINDS["wrong settings"].env))["error"]
        assert sorted("FILES" in each for each in error["details"]) == [False, True]


def test_a_cache_that_cannot_be_written(cli: InProcess) -> None:
    """Before a run it is a document; in a run, its last event."""
    cache = {"MODELFETCH_CACHE_DIR": "file"}
    assert error_of(cli, ["add", "./model"], **cache) == (7, "disk")
    events = cli("ensure", "demo", "--json", **cache).records
    assert [event["event"] for event in events] == ["run_started", "planned", "run_finished"]
    assert events[-1]["error"]["code"] == "disk"


@pytest.mark.parametrize("command", ["ensure", "list"])
def test_a_bug_is_json_too_and_its_traceback_is_on_stderr(
    cli: InProcess, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "open", lambda *_: 1 // 0)
    result = cli(*line(command), "--json")
    document = only_line(result)
    assert (result.code, document["exit_code"], document["error"]["code"]) == (1, 1, "bug")
    assert document["error"]["message"].startswith("ZeroDivisionError: ")
    assert "Traceback" in result.err


@pytest.mark.parametrize("error", [StoreError("too late", hint=""), ZeroDivisionError("too late")])
def test_an_error_after_the_result_adds_no_second_one(
    cli: InProcess, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    def print_and_fail(document: object) -> None:
        output.print_json(document)
        raise error

    monkeypatch.setattr(run, "_look_after", fail)
    monkeypatch.setattr(queries, "print_json", print_and_fail)
    with Origin() as origin:
        cli.serve(model(origin, {"a.bin": 10}, catalog=cli.catalog))
        ran, listed = cli("ensure", "m", "--json"), cli("list", "zzz", "--json")
    assert [record["event"] for record in ran.records].count("run_finished") == 1
    assert listed.document == {"models": []}
    for result in (ran, listed):
        assert result.code in (1, 7)
        assert "too late" in result.err


def test_what_follows_two_dashes_is_no_option(cli: InProcess) -> None:
    result = cli("ensure", "--", "--json")
    assert (result.code, result.out) == (3, "")
    assert "error: " in result.err


def test_other_names_of_commands_have_the_same_form(cli: InProcess) -> None:
    others = {name for name, command in ALIASES.items() if command in EVENT_COMMANDS}
    assert others == EVENT_COMMANDS & {*ALIASES}
    assert error_of(cli, ["pull", "absent"]) == (3, "unknown_model")


def test_without_a_known_command_it_is_a_document(cli: InProcess) -> None:
    assert only_line(cli("--nope", "ensure", "--json"))["event"] == "run_finished"
    for words in (["--nope", "--json"], ["fetch", "demo", "--json"], ["--json"], ["bundle", "--json"]):
        assert only_line(cli(*words)).keys() == {"error", "exit_code"}


def test_control_characters_of_arguments_are_not_printed(cli: InProcess) -> None:
    for command in ("ensure", "show"):
        out = cli(command, "\x1b[2J\u202e", "--json").out
        assert out.isascii()
        assert "\\u001b" not in out


def test_on_a_terminal_an_event_is_one_line(cli: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document is indented there."""
    monkeypatch.setattr("sys.argv", ["modelfetch", "ensure", "absent", "--json"])
    written: list[str] = []

    class Terminal:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            written.append(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr("sys.stdout", Terminal())
    output.begin_json(is_begun=False)
    output.report_error("unknown_model", 3, "no model", "")
    monkeypatch.undo()
    assert "".join(written).count("\n") == 1


@pytest.mark.parametrize(
    ("end", "code", "name"),
    [
        (RunFinished("failed", 7, 1.0, (), ErrorInfo("disk", "full", "")), 7, "disk"),
        (RunFinished("failed", 1, 1.0, (), ErrorInfo("bug", "KeyError", "")), 1, "bug"),
        (None, 6, "unavailable"),
    ],
)
def test_an_end_that_the_server_does_not_send_is_printed_here(
    cli: InProcess, end: RunFinished | None, code: int, name: str
) -> None:
    first, last = records_of([RunStarted("ensure", ("m",)), end or RunFinished("failed", 9, 0, (), None)])
    sent = [record | {"run": "0123456789ab"} for record in ([first, last] if end else [first])]
    answers = {
        "GET /v1/jobs": [document({"jobs": [snapshot()]})],
        f"GET /v1/jobs/{JOB}/stream": [stream(frames(sent), "data: [ERROR] lost\n\n")],
        f"GET /v1/jobs/{JOB}": [refusal(404, "unknown_job", "no such job")],
    }
    with serving(Script(answers)) as address:
        result = cli("attach", JOB, "--json", "--server", f"{address.base}/#token={address.token}")
    assert [record["event"] for record in result.records] == ["run_started", "run_finished"]
    last = result.records[-1]
    assert (result.code, last["exit_code"], last["error"]["code"]) == (code, code, name)
