"""Which bytes of a file came from the swarm, and which from the other sources."""

from __future__ import annotations

from pathlib import Path

from modelfetch.engine.events import FileCommitted, Progress
from modelfetch.engine.parts import amounts
from tests.engine.fake_swarm import PIECE
from tests.engine.fakes import Laboratory, code, of
from tests.engine.test_swarm_fill import CONTENT, TOTAL, Scene


def test_the_parts_of_a_file_name_the_swarm_and_the_origin(lab: Laboratory, tmp_path: Path) -> None:
    """The swarm has the first half of the pieces; this machine reads the others."""
    scene = Scene(lab, tmp_path)
    scene.engine.machines.append(scene.machine(above=False, pieces=range(20)))
    lab.serve(CONTENT)
    events = scene.run()
    assert code(events) == 0
    (committed,) = of(events, FileCommitted)
    counts = amounts(committed.parts)
    assert set(counts) == {"swarm swarm", "mirror a.example"}
    assert counts["swarm swarm"] == 20 * PIECE
    assert counts.total() == len(CONTENT)
    reported = [event for event in of(events, Progress) if event.parts]
    assert all(amounts(event.parts).total() <= event.received for event in reported)


def test_a_file_that_the_swarm_brought_alone_needs_no_parts(lab: Laboratory, tmp_path: Path) -> None:
    scene = Scene(lab, tmp_path)
    scene.engine.machines.append(scene.machine(above=True, pieces=range(TOTAL), is_seed=True))
    events = scene.run()
    (committed,) = of(events, FileCommitted)
    assert (committed.source, committed.host, committed.parts) == ("swarm", "swarm", ())
