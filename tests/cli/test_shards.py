"""Shards: each model in exactly one, the same on every machine, and evenly dealt."""

from __future__ import annotations

import random

import pytest

from modelfetch.catalog import Catalog
from modelfetch.cli.shards import Shard, parse_shard
from modelfetch.errors import UsageError

CATALOG = Catalog.open(user=None, project=(), environment=())
MANIFESTS = [CATALOG.get(name) for name in CATALOG.names()]


@pytest.mark.parametrize("count", [1, 2, 3, 7, len(MANIFESTS), len(MANIFESTS) + 5])
def test_each_model_is_in_exactly_one_shard(count: int) -> None:
    parts = [Shard(number + 1, count).of(MANIFESTS) for number in range(count)]
    assert sorted(manifest.name for part in parts for manifest in part) == CATALOG.names()
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_the_names_does_not_matter() -> None:
    shuffled = random.Random(1).sample(MANIFESTS, len(MANIFESTS))
    part, other = (Shard(2, 3).of(manifests) for manifests in (MANIFESTS, shuffled))
    assert {manifest.name for manifest in part} == {manifest.name for manifest in other}
    assert [manifest for manifest in MANIFESTS if manifest in part] == part


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1/99999", "1 / 2"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not I/N"):
        parse_shard(text)


def test_a_shard_is_read() -> None:
    assert parse_shard(" 2/10 ") == Shard(2, 10)
    assert parse_shard("2/10").text == "2/10"
