"""The URLs that a manifest lists for one file."""

from __future__ import annotations

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.net.client import Client
from modelfetch.sources.mirror import UrlSource
from tests.origin import Origin, faults
from tests.sources.samples import DATA, manifest, read, spec


def test_one_offer_per_address_in_order(client: Client) -> None:
    file = spec(urls=("https://a.example/x", "http://b.example:8080/y?z=1"))
    offers = UrlSource(client).offers(manifest(file), file)
    assert [(offer.kind, offer.host) for offer in offers] == [("url", "a.example"), ("url", "b.example:8080")]


def test_no_address_no_offer(client: Client) -> None:
    file = spec()
    assert not UrlSource(client).offers(manifest(file), file)


def test_an_address_is_used_as_it_is(client: Client, origin: Origin) -> None:
    origin.add("a b.bin", DATA)
    file = spec(urls=(f"{origin.endpoint}/files/a%20b.bin?x=%2F&y",))
    [offer] = UrlSource(client).offers(manifest(file), file)
    assert read(offer, 5) == DATA[5:]
    assert origin.requests[0].target == "/files/a%20b.bin?x=%2F&y"
    assert origin.foreign_headers == set()


def test_an_offer_remembers_its_validator_and_no_other_does(client: Client, origin: Origin) -> None:
    origin.add("x.bin", DATA)
    file = spec(urls=(origin.url("/files/x.bin"),) * 2)
    first, second = UrlSource(client).offers(manifest(file), file)
    for offer in (first, first, second):
        read(offer, 5)
    assert [request.header("If-Range") is not None for request in origin.requests] == [False, True, False]


def test_a_server_without_ranges_sends_the_whole_file(client: Client, origin: Origin) -> None:
    """The stream starts at 0, and the reader skips the bytes it has."""
    origin.add("x.bin", DATA)
    origin.fault("*", faults.ignored_range())
    file = spec(urls=(origin.url("/files/x.bin"),))
    [offer] = UrlSource(client).offers(manifest(file), file)
    stream = offer.open(100)
    assert stream.start == 0
    assert b"".join(stream) == DATA
    stream.close()


def test_a_file_of_another_size_fails_by_its_size(client: Client, origin: Origin) -> None:
    origin.add("x.bin", DATA + b"more")
    file = spec(urls=(origin.url("/files/x.bin"),))
    [offer] = UrlSource(client).offers(manifest(file), file)
    with pytest.raises(SourceError) as caught:
        offer.open(0)
    assert caught.value.fault is Fault.SIZE
    assert str(len(DATA)) in caught.value.message
