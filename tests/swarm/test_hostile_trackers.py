"""Trackers that answer with anything: the engine goes on, for this torrent and for all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.swarm.engine import EngineError, Mode, Restarted, TorrentSpec
from tests.loopback import LoopbackHandler, LoopbackServer
from tests.swarm.nodes import Node, metainfo_of, some_files

pytest.importorskip("libtorrent")

METAINFO = metainfo_of(some_files(1 << 20))
REFUSAL = b"d14:failure reason3:\xff\xfe\x80e"
"""A failure reason that is no UTF-8; libtorrent passes it on as it came."""


class RefusingTracker(LoopbackHandler):
    """Answers every announce with :data:`REFUSAL`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(REFUSAL)))
        self.end_headers()
        self.wfile.write(REFUSAL)


def test_a_refusal_that_is_no_text_does_not_end_the_engine(tmp_path: Path) -> None:
    node = Node(tmp_path)
    try:
        with LoopbackServer(RefusingTracker) as hostile:
            url = f"{hostile.url}/announce"
            paths = node.paths(METAINFO)
            node.engine.add(
                TorrentSpec(METAINFO.infohash, METAINFO.encode(), paths, Mode.LEECH, trackers=(url,))
            )
            event = node.until(
                lambda event: (
                    isinstance(event, Restarted) or (isinstance(event, EngineError) and event.tracker == url)
                )
            )
        assert isinstance(event, EngineError), event
        whole = next(event for event in node.events if isinstance(event, EngineError))
        assert "\ufffd" in whole.message
    finally:
        node.engine.close()
