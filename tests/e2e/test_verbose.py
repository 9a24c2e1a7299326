"""``-v`` and ``-vv``: every command has the option, and what it prints leaves the result alone."""

from __future__ import annotations

import os
from typing import Any

import pytest

from modelfetch.cli.help import EXIT_USAGE
from modelfetch.cli.verbosity import without_verbose
from tests.command_tree import command_tree
from tests.e2e.command import InProcess
from tests.origin import Origin, ServedModel, faults, model
from tests.schemas.calls import line

ROOT: Any = command_tree()
EXCHANGE = " GET "
READ = "settings: "
REMOTE = {"add", "bundle pull", "bundle push", "diff", "outdated", "sources", "upgrade"}
"""Commands that send requests to other hosts than that of the tests."""
STAYS = ("serve",)
"""Commands that do not end by themselves."""
NOTHING_READ = {
    *("bundle inspect", "bundle verify", "cid", "completion", "man"),
    *("jobs", "attach", "cancel", "retry"),
}
"""Commands that read neither settings nor catalogs; the last ones make requests to a server."""


def commands(group: Any = ROOT, path: str = "") -> list[tuple[str, Any]]:
    """Every command and group, by its name."""
    found = [(path, group)]
    for name, command in getattr(group, "commands", {}).items():
        found += commands(command, f"{path} {name}".strip())
    return found


COMMANDS = dict(commands())
LEAVES = [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]


@pytest.fixture
def served(inside: InProcess, origin: Origin) -> ServedModel:
    return inside.serve(model(origin, {"a.bin": 3000, "b.bin": 100_000}, catalog=inside.catalog))


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_group_has_the_option_once(name: str) -> None:
    options = [parameter.opts for parameter in COMMANDS[name].params]
    assert options.count(["--verbose", "-v"]) == 1
    assert [each for each in options if "-v" in each] == [["--verbose", "-v"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_explains_it(inside: InProcess, name: str) -> None:
    result = inside(*name.split(), "--help")
    assert "-v, --verbose" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LEAVES if name not in STAYS])
def test_every_command_accepts_it_and_prints_what_it_read(
    inside: InProcess, served: ServedModel, name: str
) -> None:
    call = line(name, "m")
    if name in REMOTE:
        inside.environment["MODELFETCH_OFFLINE"] = "1"
    plain, verbose, before = inside(*call), inside(*call, "-vv"), inside("-vv", *call)
    assert plain.code == verbose.code or name in ("ensure", "bundle create", "remove")  # done the first time
    assert "no such option" not in verbose.err + before.err
    reads = name not in NOTHING_READ
    found = [bool(result.stderr_lines(READ)) for result in (plain, verbose, before)]
    assert found == [False, reads, reads] or (plain.code == EXIT_USAGE and not any(found))
    assert all("modelfetch " in result.err.splitlines()[0] for result in (verbose, before))


def test_one_line_for_each_exchange(inside: InProcess, served: ServedModel, origin: Origin) -> None:
    result = inside("ensure", "m", "-v")
    assert result.code == 0
    assert len(result.stderr_lines(EXCHANGE)) == len(origin.requests)
    assert not result.stderr_lines(READ)
    assert result.lines == [str(inside.directory(served))]


@pytest.mark.quick(1)
@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_the_result_on_stdout_stays_as_it_is(inside: InProcess, served: ServedModel, flag: str) -> None:
    result = inside("ensure", "m", flag, "-vv")
    assert result.code == 0
    assert result.stderr_lines(EXCHANGE)
    assert all(line.startswith("[") for line in result.err.splitlines())
    assert result.records if flag == "--json" else result.lines == [str(inside.directory(served))]


def test_retries_are_reported_with_what_follows(
    inside: InProcess, served: ServedModel, origin: Origin
) -> None:
    origin.fault("b.bin", faults.status(503), times=1)
    result = inside("ensure", "m", "-v", "-q")
    assert result.stderr_lines("retry: ", "b.bin", "service unavailable (503)")


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "arguments", [["-v", "ensure", "m", "-v"], ["-vv", "ensure", "m"], ["ensure", "m", "-vvv"]]
)
def test_the_option_adds_up_wherever_it_is(
    inside: InProcess, served: ServedModel, arguments: list[str]
) -> None:
    assert inside(*arguments).stderr_lines("connection: new")


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("value", "exchanges", "details"), [("1", True, False), ("2", True, True), ("0", False, False)]
)
def test_the_environment_sets_the_least_level(
    inside: InProcess, served: ServedModel, value: str, exchanges: bool, details: bool
) -> None:
    result = inside("ensure", "m", MODELFETCH_VERBOSE=value)
    assert (bool(result.stderr_lines(EXCHANGE)), bool(result.stderr_lines(READ))) == (exchanges, details)


def test_another_value_in_the_environment_is_a_usage_error(inside: InProcess) -> None:
    result = inside("list", MODELFETCH_VERBOSE="yes")
    assert result.code == 2
    assert "MODELFETCH_VERBOSE is 'yes'" in result.err


@pytest.mark.slow
def test_the_reason_why_there_was_no_quick_answer(inside: InProcess, served: ServedModel) -> None:
    def reason() -> str:
        [line] = inside("ensure", "m", "-vv").stderr_lines("no quick answer: ")
        return line.partition("no quick answer: ")[2]

    note = inside.cache / "models" / "m" / ".ready"
    file = inside.directory(served) / "a.bin"
    assert reason() == "no earlier run made it ready in this cache"
    assert reason() == "an option or a variable needs the full check"
    os.utime(file)
    assert reason() == "a.bin was changed or replaced since it was verified"
    file.unlink()
    assert reason() == "a.bin is missing"
    with (inside.catalog / "m.toml").open("a") as manifest:
        manifest.write("# changed\n")
    assert reason().endswith("m.toml was changed or removed")
    (inside.work / "modelfetch.toml").touch()
    assert reason() == "project is another one than in its last run"
    for content in (b"", b"\xff\xfe", b"modelfetch-ready 2\nx\nend", b"modelfetch-ready 1\nx\nend"):
        note.write_bytes(content)
        assert "its last run" in reason()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["-v", "doctor"], ["doctor"]),
        (["-vv", "--verbose", "ensure", "-v"], ["ensure", "-v"]),
        (["--version", "-v"], ["--version", "-v"]),
        (["-", "-v"], ["-", "-v"]),
        ([], []),
    ],
)
def test_the_name_of_the_command_is_found_behind_the_option(words: list[str], left: list[str]) -> None:
    assert without_verbose(words) == left


@pytest.mark.slow
def test_exit_codes_do_not_depend_on_where_it_is(inside: InProcess) -> None:
    codes = [inside(*call, "--offline").code for call in (["doctor"], ["-v", "doctor"], ["doctor", "-v"])]
    assert len(set(codes)) == 1


def test_requests_to_a_server_of_jobs_are_printed_without_its_token(inside: InProcess) -> None:
    result = inside("ensure", "m", "--server", "http://127.0.0.1:9/#token=canary-server-token", "-vv")
    assert result.stderr_lines(" GET http://127.0.0.1:9/v1/", "failed: connection refused")
    assert result.stderr_lines("> authorization: ***")
    assert "canary" not in result.err
