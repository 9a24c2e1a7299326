"""Shell completion: commands, options, models of every catalog, kinds of sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module

import pytest

from modelfetch.cli.app import call
from modelfetch.cli.options import complete_job
from modelfetch.errors import UsageError
from tests.command_tree import command_tree
from tests.e2e.command import Command, InProcess, assert_fails
from tests.origin import Origin, model
from tests.remote.scripted import Script, document, serving, snapshot


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


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("modelfetch ", set(command_tree().commands)),
        pytest.param("modelfetch ensure --prefer hug", {"huggingface"}, marks=pytest.mark.slow),
        pytest.param("modelfetch config set retry.c", {"retry.cap"}, marks=pytest.mark.slow),
        ("modelfetch path demo onnx/d", {"onnx/decoder_model.onnx"}),
        pytest.param("modelfetch path absent ", {""}, marks=pytest.mark.slow),  # no word
        pytest.param("modelfetch gc --keep whisper-base-q4", {"whisper-base-q4"}, marks=pytest.mark.slow),
        pytest.param("modelfetch completion ", {"bash", "zsh", "fish"}, marks=pytest.mark.slow),
    ],
)
def test_bash_completes(cli: Command, line: str, expected: set[str]) -> None:
    assert complete(cli, line) == expected


@pytest.mark.slow
def test_models_of_every_catalog_are_completed(cli: Command, origin: Origin) -> None:
    model(origin, {"a.bin": 1}, name="whisper-mine", catalog=cli.catalog)
    offered = complete(cli, "modelfetch ensure whisper-")
    assert {"whisper-mine", "whisper-base"} <= offered
    assert all(name.startswith("whisper-") for name in offered)


def test_jobs_of_a_server_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["job-3f9cabcd-1", "job-3f9c9999-1", "job-1", "job-$(x) y", "job-\n"]
    answer = document({"jobs": [snapshot(each) for each in ids]})
    with serving(Script({"GET /v1/jobs": [answer]})) as address:
        monkeypatch.setenv("MODELFETCH_SERVER", f"{address.base}/#token={address.token}")
        assert list(complete_job("job-3f")) == ["job-3f9cabcd", "job-3f9c9999"]
        assert list(complete_job("")) == ["job-3f9cabcd", "job-3f9c9999", "job-1"]


def test_without_a_server_no_job_is_completed_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for server in ("", "http://127.0.0.1:9/#token=t", "nonsense://", "http://127.0.0.1:9"):
        monkeypatch.setenv("MODELFETCH_SERVER", server)
        assert list(complete_job("")) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(inside: InProcess, shell: str) -> None:
    result = inside("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert f"complete_{shell}" in result.out
    assert inside("completion", shell, "--json").document == {"shell": shell, "script": result.out[:-1]}
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=result.out, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_zsh_completes_at_the_first_tab(inside: InProcess) -> None:
    """Its function is loaded then, and a second compdef would come too late."""
    script = inside("completion", "zsh").out
    assert script.startswith("#compdef modelfetch\n")
    assert 'loadautofunc ]]; then\n  _modelfetch_completion "$@"\n' in script


def test_another_shell_is_refused(inside: InProcess) -> None:
    assert_fails(inside("completion", "tcsh"), 2, "tcsh")


@pytest.mark.quick(1)
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
