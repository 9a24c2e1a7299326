"""The manual page: everything that --help has, in roff that other programs accept."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelfetch.cli.help import EXAMPLES
from modelfetch.cli.man import EXIT_STATUS, _escaped, _text
from tests.command_tree import command_tree
from tests.e2e.command import InProcess

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def page(inside: InProcess) -> str:
    result = inside("man")
    assert (result.code, result.err) == (0, "")
    return result.out


def test_the_page_has_every_command_with_its_options_and_examples(inside: InProcess) -> None:
    text = page(inside).replace("\\-", "-").replace("\\(aq", "'")
    root: Any = command_tree()
    parts = dict(re.findall(r'^\.SS "modelfetch (.+?)"\n(.*?)(?=^\.S[SH])', text, re.MULTILINE | re.DOTALL))
    leaves = {name for name, command in root.commands.items() if not hasattr(command, "commands")}
    assert leaves <= parts.keys()
    assert "config set" in parts
    for name in leaves:
        options = [each for each in root.commands[name].params if each.param_type_name == "option"]
        assert all(option.opts[0] in parts[name] for option in options)
        assert all(example in parts[name] for example in EXAMPLES[name])


def test_the_page_has_the_exit_codes_of_the_reference(inside: InProcess) -> None:
    table = REFERENCE.read_text("utf-8").partition("## Exit codes")[2].partition("## ")[0]
    assert list(EXIT_STATUS) == [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]


@pytest.mark.slow
def test_the_page_is_the_same_each_time_and_as_json(inside: InProcess) -> None:
    text = page(inside)
    assert page(inside) == text
    assert inside("man", "--json").document == {"page": text[:-1]}
    assert text.isascii()


def test_text_is_never_a_request() -> None:
    assert _text(".SH x") == r"\&.SH x"
    assert _text("'a") == r"\&\(aqa"
    assert _escaped(r"a\b --c") == r"a\eb \-\-c"
    assert all(not line.startswith((".", "'")) for line in _text(". " * 200).splitlines())


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "line", [("groff", "-man", "-Tutf8", "-ww", "-z"), ("mandoc", "-T", "lint", "-W", "warning")]
)
def test_other_programs_accept_the_page(inside: InProcess, tmp_path: Path, line: tuple[str, ...]) -> None:
    if shutil.which(line[0]) is None:
        pytest.skip(f"{line[0]} is not installed")
    path = tmp_path / "modelfetch.1"
    path.write_text(page(inside))
    done = subprocess.run([*line, path], capture_output=True, text=True, check=False)
    found = (done.stdout + done.stderr).splitlines()
    assert [line for line in found if "missing date" not in line] == []  # on purpose: built twice, the same
