"""Exchange with qBittorrent, in both directions: it reads our torrents, and we its pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import HELD
from tests.swarm.nodes import Node, metainfo_of, some_files, written
from tests.swarm.qbittorrent import PROGRAM, QBittorrent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="needs qbittorrent-nox"),
]
pytest.importorskip("libtorrent")

FILES = some_files()
METAINFO = metainfo_of(FILES)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[QBittorrent]:
    with QBittorrent(tmp_path / "qbittorrent") as running:
        yield running


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.engine.close()


def test_we_fetch_from_it(other: QBittorrent, node: Node) -> None:
    for path, data in FILES.items():
        place = other.downloads / "model-1" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    other.add(METAINFO)
    other.until_complete()
    node.leech(METAINFO, other.endpoint)
    node.until_complete(METAINFO, HELD)
    assert node.content(METAINFO) == FILES


@pytest.mark.parametrize("by", ["file", "magnet link"])
def test_it_fetches_from_us(other: QBittorrent, node: Node, tmp_path: Path, by: str) -> None:
    node.seed(METAINFO, written(tmp_path, FILES))
    if by == "file":
        other.add(METAINFO)
    else:
        other.add_magnet(METAINFO.magnet("model-1"))
    other.until(lambda torrents: torrents)
    other.connect(METAINFO, node.endpoint)  # once: a peer that is added again is not connected to
    other.until_complete()
    found = {path: (other.downloads / "model-1" / path).read_bytes() for path in FILES}
    assert found == FILES
