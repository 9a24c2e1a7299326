"""What the command line says before anything is done: help, guesses, and errors for programs."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modelfetch import streams
from modelfetch.cli import entry, queries, run
from modelfetch.cli.help import EXAMPLES, EXIT_USAGE, suggest
from modelfetch.engine.options import EnsureOptions
from modelfetch.engine.setup import RunOptions
from modelfetch.settings.table import BY_NAME
from tests.command_tree import command_tree
from tests.schemas.checking import check_output

ROOT: Any = command_tree()
COMMANDS: dict[str, Any] = {
    "": ROOT,
    **ROOT.commands,
    **{f"config {name}": command for name, command in ROOT.commands["config"].commands.items()},
}
"""Every command, groups included, by the words behind ``modelfetch``."""

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Called:
    """Call the command in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELFETCH_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modelfetch", *words])
        code = entry._call()
        out, err = capsys.readouterr()
        check_output(words, code, out)
        return code, out, err

    return call


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_examples_that_are_accepted(name: str, called: Called) -> None:
    code, out, err = called(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines())
    head, _, examples = out.partition("Examples:\n")
    assert head.startswith("Usage: modelfetch")
    assert [line.strip() for line in examples.splitlines()][: len(EXAMPLES[name])] == [*EXAMPLES[name]]
    for example in EXAMPLES[name]:
        _accept(example)


def _accept(example: str) -> None:
    """Let the command that an example names parse it."""
    call, _, _ = example.partition(" > ")
    words = shlex.split(call.partition("$(")[2].rstrip(")") or call)
    assert words.pop(0) == "modelfetch"
    width = 2 if words[0] == "config" else 1
    COMMANDS[" ".join(words[:width])].make_context("modelfetch", words[width:])


@pytest.mark.parametrize("group", ["", "config"])
def test_a_group_alone_prints_its_help_as_it_is(group: str, called: Called) -> None:
    """On stderr, since nobody asked for it, and as misuse: a script whose variable was empty notices."""
    code, out, err = called(*group.split())
    assert (code, out) == (EXIT_USAGE, "")
    assert called(*group.split(), "--help") == (0, err, "")


@pytest.mark.parametrize("group", ["", "bundle", "config", "quarantine", "swarm"])
def test_the_list_of_commands_cuts_no_sentence(group: str, called: Called) -> None:
    _, listed, _ = called(*group.split(), "--help")
    assert "..." not in listed.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("download install fetch instal", "ensure"),
        ("models List", "list"),
        ("delete uninstall remov", "remove"),
        ("describe", "show"),
        ("which", "path"),
        ("check verfy", "verify"),
        ("version", "--version"),
        ("help", "--help"),
    ],
)
def test_a_command_of_another_name_is_guessed_by_its_meaning(
    words: str, command: str, called: Called
) -> None:
    for word in words.split():
        code, out, err = called(word, "whisper-base")
        assert (code, out) == (EXIT_USAGE, "")
        assert err.splitlines()[0] == f"error: no such command {word}; did you mean {command}?"
        assert f"modelfetch {command}" in err.splitlines()[1]


def test_a_word_without_a_meaning_gets_no_guess(called: Called) -> None:
    assert called("qqqq")[2].splitlines()[0] == "error: no such command qqqq"
    assert "\x1b" not in called("\x1b[2J")[2]
    assert suggest("x" * 100_000, "modelfetch", [*ROOT.commands]) == ""


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("ensure x --local-dir y", "Did you mean --to?"),
        ("ensure x --max-workers 4", "Did you mean --files?"),
        ("ensure x --revision v1", "hf:ORG/REPO@REV"),
        ("ensure x --include a", "modelfetch add REF --include GLOB"),
        ("ensure x --offlin", "Did you mean --offline?"),
        ("add x --local-dir y", "modelfetch ensure NAME --to DIR"),
        ("add x --repo-type dataset", "hf:datasets/ORG/REPO"),
        ("verify x --fix", "Did you mean --repair?"),
        ("list --zzzz", ""),
    ],
)
def test_options_of_other_downloaders_are_explained(line: str, hint: str, called: Called) -> None:
    code, out, err = called(*line.split())
    message, what_next = err.splitlines()
    assert (code, out) == (EXIT_USAGE, "")
    option = next(word for word in line.split() if word.startswith("--"))
    assert message == f"error: no such option: {option}"
    assert hint in what_next
    assert f"Run `modelfetch {line.split(maxsplit=1)[0]} --help`." in what_next


@pytest.mark.parametrize(
    ("line", "words"), [("ensure --jitter x", "a number"), ("history --limit x", "a whole number")]
)
def test_a_wrong_value_is_explained_without_types_of_python(line: str, words: str, called: Called) -> None:
    code, _, err = called(*line.split())
    assert code == EXIT_USAGE
    assert words in err
    assert "float" not in err


def test_what_modelfetch_does_not_do_is_said(called: Called) -> None:
    assert "HF_TOKEN" in called("login")[2]
    assert "does not run models" in called("run", "x")[2]
    assert "modelfetch bundle push" in called("push", "x")[2]
    assert "modelfetch ensure hf:ORG/REPO" in called("hf", "download", "org/repo")[2]
    assert "modelfetch ensure ollama:NAME" in called("ollama", "pull", "x")[2]


def test_commands_of_groups_are_guessed_too(called: Called) -> None:
    assert "no such command get; did you mean show?" in called("config", "get")[2]
    assert "no such command export; did you mean create?" in called("bundle", "export")[2]


def test_an_option_without_its_value_names_the_help_of_its_command(called: Called) -> None:
    for line in ("ensure x --from", "bundle create x -o"):
        assert f"Run `modelfetch {line.partition(' x ')[0]} --help`." in called(*line.split())[2]
    assert "Run `modelfetch ensure --help`." in called("pull", "x", "--to")[2]


def test_the_choices_of_a_missing_argument_are_on_one_line(called: Called) -> None:
    assert "Choose from: bash, zsh, fish\n" in called("completion")[2]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("words", "code", "name", "message"),
    [
        ("ensure --nope", 2, "usage", "--nope"),
        ("fetch", 2, "usage", "did you mean ensure?"),
        ("ensure", 2, "usage", "no model is named"),
        ("ensure demo --to=", 2, "usage", "--to is empty"),
        ("ensure whisper-bas", 3, "unknown_model", "Did you mean 'whisper-base'?"),
        ("ensure broken", 3, "bad_manifest", "broken.toml"),
        ("show whisper-bas", 3, "unknown_model", "whisper-bas"),
        ("path demo", 4, "offline", "demo is not present"),
        ("plan demo --prefer nobody", 2, "usage", "nobody"),
        ("config set network.files x", 2, "config", "network.files"),
        ("jobs --server nowhere", 2, "usage", ""),
    ],
)
def test_with_json_an_error_before_a_run_is_a_document(
    words: str, code: int, name: str, message: str, called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(Path.cwd() / "cache"))
    monkeypatch.setenv("MODELFETCH_CATALOG", str(Path.cwd() / "catalog"))
    Path("catalog").mkdir()
    Path("catalog/broken.toml").write_text("schema = 1\n")
    ended, out, err = called(*words.split(), "--json")
    assert (ended, err) == (code, "")
    error = json.loads(out)["error"]
    assert error["code"] == name
    assert message in error["message"]
    assert error["hint"]


def test_an_error_that_stdout_cannot_take_is_on_stderr(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "lost", lambda: OSError(28, "No space left on device"))
    _, _, err = called("cache-key", "absent", "--json")
    assert err.startswith("error: no catalog has a model called 'absent'")


def test_with_json_several_wrong_settings_are_each_told(called: Called) -> None:
    Path("modelfetch.toml").write_text("[network]\nfiles = 0\nnope = 1\n")
    code, out, _ = called("list", "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"], len(error["details"])) == (2, "config", 2)


def test_config_says_what_has_no_effect_yet(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BY_NAME, "lan.enabled", replace(BY_NAME["lan.enabled"], is_idle=True))
    monkeypatch.setenv("MODELFETCH_CACHE_DIR", str(Path.cwd() / "cache"))
    code, out, err = called("config", "set", "lan.enabled", "true")
    assert (code, out) == (0, "")
    assert err.splitlines()[1] == "note: no effect yet: lan.enabled"
    told = json.loads(called("config", "show", "--json")[1])
    vain = {name: fact["no_effect_yet"] for name, fact in told.items() if "no_effect_yet" in fact}
    assert vain == {"lan.enabled": "lan.enabled"}
    lines = {line.split()[0]: line for line in called("config", "show")[1].splitlines()}
    assert lines["lan.enabled"].endswith("config.toml (no effect yet)")


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("quiet", [[], ["-q"], ["--quiet"]])
@pytest.mark.parametrize("names", [[], ["a"], ["b", "a", "b"]])
@pytest.mark.parametrize("command", ["ensure", "verify"])
def test_a_command_parsed_without_typer_runs_as_one_parsed_by_it(
    command: str, names: list[str], quiet: list[str], called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same function with the same arguments; a setting that is None counts as not given."""
    runs: list[tuple[object, ...]] = []

    def ensure(names: Sequence[str], options: EnsureOptions | None = None, **more: object) -> int:
        options = options or EnsureOptions()
        given = {name: value for name, value in options.settings.items() if value is not None}
        off = {"json": False, "shard": None, "jitter": None}
        runs.append((list(dict.fromkeys(names)), replace(options, settings=given), off | more))
        return 0

    def verify(names: Sequence[str], flags: Any = None, options: Any = None, **more: object) -> int:
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        off = dict.fromkeys(("quick", "repair", "strict", "json"), False) | {"sample": 0}
        runs.append((list(dict.fromkeys(names)), given, options or RunOptions(), off | more))
        return 0

    monkeypatch.setattr(run, "run_ensure", ensure)
    monkeypatch.setattr(run, "run_verify", verify)
    assert called(command, *names, *quiet) == (0, "", "")
    monkeypatch.setattr(entry, "_run_plain", lambda *_: None)
    assert called(command, *names, *quiet) == (0, "", "")
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "*-q8"],
        ["show", "a"],
        ["show", "hf:org/repo"],
        ["path", "a"],
        ["path", "a", "sub/file.bin"],
    ],
)
def test_a_query_parsed_without_typer_runs_as_one_parsed_by_it(
    arguments: list[str], called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[object, ...]] = []

    def query(*words: object, **options: object) -> None:
        given = {name: value for name, value in options.items() if value not in (None, False, "name")}
        runs.append((*(word for word in words if word is not None), given))

    for name in ("run_list", "run_show", "run_path"):
        monkeypatch.setattr(queries, name, query)
    assert called(*arguments) == (0, "", "")
    assert entry.is_plain_query(arguments)
    monkeypatch.setattr(entry, "_run_plain", lambda *_: None)
    assert called(*arguments) == (0, "", "")
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "arguments",
    [
        *([], [""], ["show"], ["path"], ["list", "a", "b"], ["show", "a", "b"], ["path", "a", "b", "c"]),
        *(["list", "--json"], ["show", "-h"], ["show", "--", "a"], ["path", "a", "-"], ["show", ""]),
        *(["-v", "list"], ["ls"], ["ensure", "a"]),
    ],
)
def test_any_other_form_of_a_query_is_left_to_typer(arguments: list[str]) -> None:
    assert not entry.is_plain_query(arguments)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_the_engine_is_being_loaded_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    """Then a module of it is there and has no names yet, so the handler must not need any."""
    monkeypatch.setitem(sys.modules, "modelfetch.engine.stream", ModuleType("modelfetch.engine.stream"))
    with pytest.raises(KeyboardInterrupt) as raised:
        entry._raise_interrupt(getattr(signal, name), None)
    assert entry._interrupt_code(raised.value) == code
