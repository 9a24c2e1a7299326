"""The documentation says what the program does: complete lists, real examples, links that lead somewhere."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from modelfetch import __version__, tracing
from modelfetch.catalog import Catalog
from modelfetch.cli import entry
from modelfetch.cli.help import EXIT_USAGE
from modelfetch.engine.events import Event
from modelfetch.engine.stream import Hangup, Terminated
from modelfetch.errors import Fault, ModelfetchError
from modelfetch.model.parse import load_manifest
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.paths import is_reference
from modelfetch.model.reference import OllamaReference
from modelfetch.settings import SETTINGS
from modelfetch.settings.layers import PROJECT_LISTS, from_tables
from modelfetch.settings.table import ENVIRONMENT, RUN_SETTINGS
from modelfetch.signal_exit_codes import SIGINT_EXIT, SIGPIPE_EXIT
from tests.command_tree import command_tree
from tests.test_imports import HOMES, LAYERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
ABOUT_CODE = [ROOT / "CONTRIBUTING.md", *sorted((DOCS / "explanation").glob("*.md"))]
"""Pages that name modules."""
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
CODE = sorted((ROOT / "modelfetch").rglob("*.py"))


def each(pages: list[Path]) -> pytest.MarkDecorator:
    """Run a test for each of these pages."""
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


# Reading Markdown

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


SHELL = ("sh", "yaml", "")
"""Languages of blocks with calls of the command."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of a page, of some languages or of all."""
    found = FENCE.findall(page.read_text("utf-8"))
    return [body for _, language, body in found if language in languages or not languages]


def pages_with(*languages: str) -> list[Path]:
    """The pages with code blocks of some languages."""
    return [page for page in PAGES if blocks(page, *languages)]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def section(page: Path, title: str) -> str:
    """What stands under a heading of the second level, up to the next one."""
    parts = re.split(r"^## (.+)$", prose(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text: rows of cells, without the head."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [[_cells(row) for row in table.splitlines()[2:]] for table in found]


def _cells(row: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def terms(cell: str) -> list[str]:
    """What a cell sets as code."""
    return re.findall(r"`([^`]+)`", cell)


def first_terms(table: list[list[str]]) -> list[str]:
    """What the first column of a table sets as code."""
    return [term for row in table for term in terms(row[0])]


# Commands


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ROOT_COMMAND: Any = command_tree()
COMMANDS = dict(commands(ROOT_COMMAND, "modelfetch"))


EVERYWHERE = ("--help", "--verbose")
"""Options of all commands, which the reference explains once."""


def spellings(command: Any) -> set[str]:
    """Every spelling of the options of a command, and the names of its arguments."""
    found: set[str] = set()
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        found |= {*parameter.opts} if is_option else {parameter.metavar.strip("[].")}
    return found - {*EVERYWHERE, "-h", "-v"}


@pytest.mark.parametrize("name", ["modelfetch", *COMMANDS])
def test_the_reference_has_every_argument_and_option_of_a_command_and_no_other(name: str) -> None:
    found = tables(section(REFERENCE / "commands.md", f"`{name}`"))
    documented = {term.split()[0] for table in found for term in first_terms(table)} - {*EVERYWHERE, "-v"}
    assert documented == spellings(COMMANDS.get(name, ROOT_COMMAND))


def test_the_readme_lists_every_command() -> None:
    """Grouped by task; in brackets is what a command does."""
    [table] = tables(section(ROOT / "README.md", "Commands"))
    listed = [term for row in table for term in terms(re.sub(r"\([^)]*\)", "", row[1]))]
    assert sorted(f"modelfetch {term}" for term in listed) == sorted(COMMANDS)


def calls(page: Path) -> Iterator[list[str]]:
    """Every call of the command in the code blocks of a page, as its arguments."""
    for block in blocks(page, *SHELL):
        pattern = r"\bmodelfetch ((?:(?:bundle|config|quarantine|swarm) )?[a-z-]+\b(?:'[^']*'|[^\n;&|)'>])*)"
        for call in re.findall(pattern, block):
            if call.split()[0] in ROOT_COMMAND.commands:
                yield shlex.split(call, comments=True)


def pinned_name(call: list[str]) -> str:
    """The name that a call gives to a model: that of its reference, which comes first, or NAME."""
    if call[0] not in ("add", "ensure") or len(call) < 2 or not is_reference(call[1]):
        return "NAME"
    reference = parse_reference(call[1], exists=lambda _: False)
    if isinstance(reference, OllamaReference):
        return f"{reference.model}-{reference.tag}".lower()
    return str(getattr(reference, "repo", "NAME")).rpartition("/")[2].lower()


def names_in(parameters: dict[str, Any]) -> Iterator[str]:
    """The models that a call names, without those that it pins first; a wrong reference is an error."""
    for word in (*(parameters.get("names") or ()), parameters.get("name") or "NAME"):
        if is_reference(word):
            assert parse_reference(word, exists=lambda _: False).text
        else:
            yield word


@each(pages_with(*SHELL))
def test_calls_in_examples_are_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is parsed by the command itself; the models it names are in the catalog, or the page's own."""
    monkeypatch.setattr(tracing, "active", None)  # parsing -v starts verbose output
    known = {*Catalog.open(user=None, project=(), environment=()).names(), "my-model", "NAME"}
    known |= {pinned_name(call) for call in calls(page)}
    for call in calls(page):
        width = 2 if call[0] in {"bundle", "config", "quarantine", "swarm"} else 1
        command = COMMANDS[" ".join(["modelfetch", *call[:width]])]
        parameters = command.make_context("modelfetch", call[width:]).params
        assert {*names_in(parameters)} <= known


# Events

GOLDEN = {
    line["event"]: line
    for line in map(json.loads, (ROOT / "tests/data/events.jsonl").read_text("utf-8").splitlines())
}
"""One line of each kind, as the program writes it."""

ENVELOPE = ["v", "run", "n", "at", "event"]


def shape(document: dict[str, Any]) -> list[list[str]]:
    """The keys of an object, and of the objects in it."""
    below = [value[0] if isinstance(value, list) and value else value for value in document.values()]
    return [list(document), *(list(value) for value in below if isinstance(value, dict))]


@pytest.mark.parametrize("event", get_args(Event), ids=lambda event: str(event.kind))
def test_the_reference_has_every_field_of_an_event_and_no_other(event: Any) -> None:
    found = tables(section(REFERENCE / "events.md", f"`{event.kind}`"))
    own, *below = shape(GOLDEN[event.kind])
    assert {*own} >= {field.name for field in fields(event)}
    assert [first_terms(table) for table in found] == [own[len(ENVELOPE) :], *below]


def test_the_reference_has_the_envelope() -> None:
    [table] = tables(section(REFERENCE / "events.md", "The envelope"))
    assert first_terms(table) == ENVELOPE


def test_the_reference_has_an_example_of_every_event_in_its_real_form() -> None:
    examples = [json.loads(block) for block in blocks(REFERENCE / "events.md", "json")]
    assert {example["event"] for example in examples} == {event.kind for event in get_args(Event)}
    assert all(shape(example) == shape(GOLDEN[example["event"]]) for example in examples)


# Errors


def errors(base: type[ModelfetchError] = ModelfetchError) -> Iterator[type[ModelfetchError]]:
    """The error tree, of the module that draws it."""
    if base.__module__ == "modelfetch.errors":
        yield base
    for child in base.__subclasses__():
        yield from errors(child)


def test_the_reference_has_every_error_code_with_its_exit_code_and_class() -> None:
    [table] = tables(section(REFERENCE / "errors.md", "Codes"))
    documented = {row[0].strip("`"): (row[1], row[2].strip("`")) for row in table}
    interrupts = f"{Hangup.exit_code}, {SIGINT_EXIT}, {Terminated.exit_code}"
    expected = {error.code: (str(error.exit_code), error.__name__) for error in errors()}
    expected["source"] = ("-", "SourceError")
    expected["cancelled"] = (interrupts, "KeyboardInterrupt")
    assert documented == expected


def test_the_reference_has_every_fault_and_whether_it_is_retried() -> None:
    [table] = tables(section(REFERENCE / "errors.md", "Faults"))
    documented = {row[0].strip("`"): row[1] for row in table}
    assert documented == {fault.value: "yes" if fault.is_transient else "no" for fault in Fault}


def test_the_reference_has_every_exit_code() -> None:
    [table] = tables(section(REFERENCE / "commands.md", "Exit codes"))
    signals = {SIGINT_EXIT, Hangup.exit_code, Terminated.exit_code, SIGPIPE_EXIT}
    expected = {0, entry.EXIT_BUG, EXIT_USAGE, *signals, *(error.exit_code for error in errors())}
    assert [int(row[0]) for row in table] == sorted(expected)


# Settings and environment

VARIABLE = re.compile(
    r"(?:MODELFETCH|HF|HUGGING_?FACE|TRANSFORMERS|XDG|SSL)(?:_[A-Z]+)+|CI|TERM|NO_COLOR|HOME|USERPROFILE"
)


@cache
def variables() -> set[str]:
    """Every environment variable the code names: a whole string."""
    texts = {text for path in CODE for text in re.findall(r'"([A-Z_]+)"', path.read_text("utf-8"))}
    return {text for text in texts if VARIABLE.fullmatch(text)} | {*ENVIRONMENT}


def test_every_environment_variable_is_documented() -> None:
    page = prose(REFERENCE / "commands.md") + prose(REFERENCE / "configuration.md")
    documented = {*terms(page)}
    settings = {setting.variable for setting in (*SETTINGS, *RUN_SETTINGS)}
    assert {"HF_TOKEN", "CI", "MODELFETCH_CONFIG"} <= variables()
    assert variables() | settings <= documented


@cache
def settings_read() -> set[str]:
    """Every ``section.key`` the code reads, outside of the settings themselves."""
    names = "|".join(setting.name.replace(".", r"\.") for setting in SETTINGS)
    texts = [path.read_text("utf-8") for path in CODE if "settings" not in path.parts]
    return {
        f"{parent}.{node.attr}"
        for text in texts
        if re.search(rf"\b(?:{names})\b", text)  # to look through the others takes a second
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        for parent in [getattr(node.value, "attr", getattr(node.value, "id", ""))]
    }


@pytest.mark.slow
def test_the_decision_lists_the_settings_that_have_no_effect_yet() -> None:
    text = section(DOCS / "decisions" / "0007-settings-of-later-features.md", "Decision")
    listed = {*terms(text)} & {setting.name for setting in SETTINGS} - {"sources.order"}
    assert "cache.fsync" in settings_read()
    assert listed == {setting.name for setting in SETTINGS} - settings_read()
    assert listed == {setting.name for setting in SETTINGS if setting.is_idle}


# Examples


@each(pages_with("toml"))
def test_toml_examples_are_valid(page: Path) -> None:
    """Manifests by the program's own parser; all else must be a project's file."""
    for block in blocks(page, "toml"):
        document = tomllib.loads(block)
        if "schema" in document:
            load_manifest(Path(f"{document['name']}.toml"), block.encode())
        else:
            assert from_tables(document, str(page), lists=PROJECT_LISTS).faults == []


@each(pages_with("python"))
def test_python_examples_use_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and _is_here(node.module or ""):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "modelfetch":
                assert hasattr(importlib.import_module("modelfetch"), node.attr)


def _is_here(module: str) -> bool:
    """Whether a module is ours or of the standard library; those of others need not be installed."""
    package = module.partition(".")[0]
    return package == "modelfetch" or package in sys.stdlib_module_names


# Architecture

MODULE = re.compile(r"(?<![\w<>*./-])(?:[\w-]+/)*[\w-]+\.(?:py|jsonl|js)\b")
FOLDER = re.compile(r"(?<![\w./-])(?:modelfetch|tests|docs)(?:/[\w-]+)+(?!/?[\w.<*-])")
RUNNABLE = re.compile(r"python -m (tests(?:\.\w+)*)")


def named_in(page: Path) -> set[str]:
    """Every path of a module or directory of the repository that a page names, also in its code blocks."""
    text = page.read_text("utf-8")
    runnable = (name.replace(".", "/") for name in RUNNABLE.findall(text))
    return {*MODULE.findall(text), *FOLDER.findall(text), *runnable}


@pytest.mark.parametrize("page", ABOUT_CODE, ids=lambda page: str(page.stem))
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    """Relative to the repository, or to the package."""
    roots = (ROOT, ROOT / "modelfetch")
    assert [
        name for name in sorted(named_in(page)) if not any((root / name).exists() for root in roots)
    ] == []


def test_paths_are_found_in_pages() -> None:
    named = named_in(ARCHITECTURE) | named_in(ROOT / "CONTRIBUTING.md")
    assert {"engine/ensure.py", "warm.py", "tests/data/events.jsonl", "tests/panel", "tests/bench"} <= named


def test_the_architecture_shows_the_layers_and_the_packages_of_others() -> None:
    """In the order of the import rules, the last layer first."""
    [picture] = blocks(ARCHITECTURE, "text")
    rows = re.findall(r"^(\w+) .*?(?:\[(.+)\])?$", picture, re.MULTILINE)
    assert [layer for layer, _ in reversed(rows)] == [*LAYERS]
    shown = {layer: foreign.split(", ") for layer, foreign in rows if foreign}
    assert shown == {
        layer: found for layer in LAYERS if (found := sorted(name for name in HOMES if layer in HOMES[name]))
    }


# Pages and links


def anchors(page: Path) -> set[str]:
    """The anchors a reader of the page sees, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The links and pictures of a page that stay in the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in found if not target.startswith(("https://", "http://"))]


@each(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_can_be_reached_from_the_index() -> None:
    index = DOCS / "index.md"
    reached = {(DOCS / target).resolve() for target in links(index)}
    assert reached == {*DOCS.rglob("*.md")} - {index}


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: str(page.stem))
def test_decisions_are_short_and_of_one_form(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.startswith(f"# {int(page.stem[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) < 40


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_changelog_has_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", prose(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    if ".dev" not in __version__:  # then the build is of a commit after a tag
        assert __version__ in headings
