"""Bars in a notebook: one output that is replaced, and what stays in it."""

from __future__ import annotations

import html
import io
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console, Group
from rich.jupyter import JupyterRenderable

import modelfetch.reporters.notebook
from modelfetch.engine.events import RunStarted
from modelfetch.reporters import choose
from modelfetch.reporters.notebook import INTERVAL, NotebookArea, notebook_bars
from tests.scripted import MODEL, at_once, download, planned, play, started


class Output:
    """The output of a cell."""

    def __init__(self) -> None:
        self.shown: list[JupyterRenderable] = []

    def display(self, shown: JupyterRenderable) -> Output:
        assert not self.shown, "one output a run"
        self.update(shown)
        return self

    def update(self, shown: JupyterRenderable, /) -> None:
        self.shown.append(shown)

    @property
    def text(self) -> str:
        return self.shown[-1].text


def words_of(shown: JupyterRenderable) -> str:
    """The text that a browser shows of the HTML."""
    return html.unescape(re.sub(r"<[^>]*>", "", shown.html))


def test_a_run_is_one_output_and_its_permanent_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelfetch.reporters.notebook, "INTERVAL", 0.0)
    output = Output()
    bars = notebook_bars(display=output.display)
    play(at_once(download()), bars)
    pictures = [words_of(shown) for shown in output.shown]
    assert any("of 9 files" in picture and "%" in picture for picture in pictures)
    assert "\x1b" not in "".join(pictures)
    assert pictures[-1].count("✓") == 1
    assert MODEL in pictures[-1]
    assert "%" not in pictures[-1]


def test_names_are_text_and_no_html(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelfetch.reporters.notebook, "INTERVAL", 0.0)
    evil = ("<img src=x onerror=alert(1)>", 1000)
    output = Output()
    timed = at_once([RunStarted("ensure", (MODEL,)), planned([evil]), started(*evil)])
    play(timed, notebook_bars(display=output.display))
    assert all("<img" not in shown.html for shown in output.shown)
    assert any("&lt;img" in shown.html for shown in output.shown)


def test_it_is_not_drawn_with_every_record_but_its_end_is() -> None:
    now, output = [0.0], Output()
    area = NotebookArea(Console(record=True, file=io.StringIO()), Group, output.display, lambda: now[0])
    area.start()
    for _ in range(100):
        area.refresh()
    area.print("done")
    assert len(output.shown) == 1
    now[0] += INTERVAL
    area.refresh()
    assert (len(output.shown), output.text) == (2, "done\n")
    area.stop()
    area.stop()
    area.print("after")
    assert (len(output.shown), output.text) == (4, "done\nafter\n")


def test_only_a_notebook_is_asked_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def chosen() -> str:
        with (tmp_path / "log").open("w") as log:
            [reporter] = choose(
                json=False, quiet=False, stdout=log, stderr=log, environ={}, may_be_notebook=True
            )
        return type(reporter).__name__

    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert chosen() == "Lines"
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    assert chosen() == "Lines"  # IPython in a terminal, or only imported
    monkeypatch.setattr(modelfetch.reporters.notebook, "Console", lambda: Console(force_jupyter=True))
    assert chosen() == "DeferredReporter"


@pytest.mark.slow
def test_a_real_notebook_shows_the_bars_and_keeps_the_result(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    environment = {"MODELFETCH_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    cells = [
        f"import modelfetch, os; os.environ |= {environment}",
        "directory = modelfetch.ensure('demo', progress=True)",
        "modelfetch.verify('demo', progress=True)[0].status",
        "modelfetch.ensure('demo', progress=True) == directory",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell.outputs for cell in book.cells]
    [ensured] = outputs[1]
    assert "demo" in ensured["data"]["text/plain"]
    assert "ready" in ensured["data"]["text/html"]
    assert not [output for cell in outputs for output in cell if output["output_type"] == "stream"]
    assert outputs[3][-1]["data"]["text/plain"] == "True"
