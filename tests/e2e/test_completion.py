"""Shell completion: commands, options, models of every catalog, kinds of sources."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
import typer

from modelfetch.cli.app import call, command_line
from modelfetch.errors import UsageError
from tests.e2e.command import Command
from tests.origin import Origin, model


def complete(cli: Command, line: str) -> set[str]:
    """What bash would offer for the last word of a command line."""
    words = line.split(" ")
    result = cli(
        _MODELFETCH_COMPLETE="complete_bash",
        COMP_WORDS=line.replace(" ", "\n"),
        COMP_CWORD=f"{len(words) - 1}",
    )
    assert (result.code, result.err) == (0, "")
    return set(result.lines)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("modelfetch ", set(typer.main.get_command(command_line()).commands)),  # type: ignore[attr-defined]
        ("modelfetch ensure --prefer hug", {"huggingface"}),
    ],
)
def test_bash_completes(cli: Command, line: str, expected: set[str]) -> None:
    assert complete(cli, line) == expected


def test_models_of_every_catalog_are_completed(cli: Command, origin: Origin) -> None:
    model(origin, {"a.bin": 1}, name="whisper-mine", catalog=cli.catalog)
    offered = complete(cli, "modelfetch ensure whisper-")
    assert {"whisper-mine", "whisper-base"} <= offered
    assert all(name.startswith("whisper-") for name in offered)


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_a_shell_that_is_not_known_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    shellingham = import_module("shellingham")  # it has no types

    def detect() -> None:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", detect)
    monkeypatch.setattr(sys, "argv", ["modelfetch", option])
    assert call() == UsageError.exit_code
    assert "not supported" in "".join(capsys.readouterr())
