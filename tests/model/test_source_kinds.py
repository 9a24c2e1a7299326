"""The kinds of sources: their order and their properties."""

from __future__ import annotations

import json
import re
from pathlib import Path

from modelfetch.model.source_kinds import WITHOUT_NETWORK, SourceKind

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "sources-and-fallback.md"


def test_the_order_is_that_of_the_contract() -> None:
    order = ["local", "peer", "mirror", "ipfs", "huggingface", "modelscope", "oci", "url"]
    assert list(SourceKind) == order


def test_only_this_disk_needs_no_network() -> None:
    assert [kind for kind in SourceKind if not kind.needs_network] == ["local"]
    assert {"", "cache", "local"} == WITHOUT_NETWORK


def test_a_member_is_its_word() -> None:
    """Words of events and of the database are compared with members, and members are written as words."""
    kind = SourceKind.IPFS
    assert (f"{kind}", json.dumps([kind]), hash(kind)) == ("ipfs", '["ipfs"]', hash("ipfs"))
    assert {"ipfs": 1}[kind] == 1


def test_the_page_lists_the_active_kinds_in_their_order() -> None:
    table = PAGE.read_text("utf-8").partition("## Kinds")[2].partition("\n\n`sources.order`")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(SourceKind)
