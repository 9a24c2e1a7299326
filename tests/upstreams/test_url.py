"""Files at addresses: name, size, and what is refused because it is not the file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelfetch.errors import (
    AuthorizationError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.reference import UrlReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing
from modelfetch.upstreams.url import Url, name_of
from tests.hubs.server import Reply
from tests.hubs.table import File, Table

CONTENT = bytes(range(256)) * 20
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 5\n" % (b"a" * 64)
SECRET = "s3cr3t-canary"


@pytest.fixture
def server() -> Iterator[Table]:
    with Table({"/models/tiny.onnx": File(body=CONTENT)}) as server:
        yield server


@pytest.fixture
def upstream(hub: HubClient) -> Url:
    return Url(hub)


def resolve(upstream: Url, server: Table, path: str = "/models/tiny.onnx") -> Listing:
    return upstream.resolve(UrlReference(server.endpoint + path))


def read(upstream: Url, listing: Listing) -> bytes:
    with upstream.open(listing.files[0]) as pieces:
        return b"".join(pieces)


def fails(upstream: Url, server: Table, path: str = "/models/tiny.onnx") -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        resolve(upstream, server, path)
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


@pytest.mark.parametrize(
    ("said", "size"),
    [
        (File(body=CONTENT), len(CONTENT)),
        (File(body=CONTENT, ranges=False), len(CONTENT)),
        (File(body=CONTENT, ranges=False, chunked=True), None),
        (File(body=b"small"), 5),
        (File(body=b""), 0),
        (File(body=b"", ranges=False), 0),
    ],
)
def test_size_and_bytes(upstream: Url, server: Table, said: Reply, size: int | None) -> None:
    server.answers["/models/tiny.onnx"] = said
    listing = resolve(upstream, server)
    [file] = listing.files
    assert (file.path, file.size, file.sha256) == ("tiny.onnx", size, None)
    assert file.urls == (server.endpoint + "/models/tiny.onnx",)
    assert (listing.name, listing.revision, listing.stated_by) == ("tiny", "", "computed")
    assert read(upstream, listing) == said.body


def test_only_the_beginning_is_requested_first(upstream: Url, server: Table) -> None:
    resolve(upstream, server)
    assert [each.headers["range"] for each in server.requests] == ["bytes=0-1023"]


def test_a_redirect_to_a_signed_address_is_not_pinned(upstream: Url, server: Table) -> None:
    server.answers["/get/tiny.onnx"] = Reply(302, headers={"Location": f"/models/tiny.onnx?sig={SECRET}"})
    listing = resolve(upstream, server, "/get/tiny.onnx")
    assert listing.files[0].urls == (server.endpoint + "/get/tiny.onnx",)
    assert SECRET not in repr(listing)
    assert read(upstream, listing) == CONTENT


def test_a_query_is_pinned_with_a_notice(upstream: Url, server: Table) -> None:
    listing = resolve(upstream, server, "/models/tiny.onnx?download=1")
    assert listing.files[0].urls[0].endswith("?download=1")
    assert "query" in listing.notices[0]


# Names


@pytest.mark.parametrize(
    ("path", "disposition", "name"),
    [
        ("/a/model.gguf", "", "model.gguf"),
        ("/a/model.gguf", "attachment; filename=other.gguf", "model.gguf"),
        ("/download", 'attachment; filename="model.gguf"', "model.gguf"),
        ("/download", "attachment; filename=model.gguf", "model.gguf"),
        ("/download", 'attachment; filename="../../.bashrc"', "download"),
        ("/download", 'attachment; filename="/etc/passwd"', "download"),
        ("/download", 'attachment; filename="a\\b"', "download"),
        ("/download", "attachment; filename=con", "download"),
        ("/", 'attachment; filename="model.gguf"', "model.gguf"),
        ("/a%20b%28c%29.bin", "", "a_b_c_.bin"),
        ("/o/models%2Ftiny.onnx", "", "tiny.onnx"),
        ("/%2e%2e%2f", 'attachment; filename="model.gguf"', "model.gguf"),
    ],
)
def test_the_name_of_the_file(path: str, disposition: str, name: str) -> None:
    assert name_of(f"https://h.example{path}", disposition)[0] == name


@pytest.mark.parametrize("path", ["", "/", "/a/", "/..", "/%2e%2e%2f", "/%00"])
def test_without_a_usable_name_there_is_no_pin(path: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        name_of(f"https://h.example{path}", "")


def test_a_changed_name_is_reported() -> None:
    assert "'a b.bin' is called 'a_b.bin'" in name_of("https://h.example/a%20b.bin", "")[1][0]


# What is refused


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://models.example/tiny.onnx", "plain http is refused"),
        (f"https://user:{SECRET}@models.example/tiny.onnx", "user name or password"),
        ("https://models.example/{path}", "braces"),
        ("https://models.example/a b", "percent-encoded"),
        ("https:///tiny.onnx", "no host"),
        ("ftp://models.example/tiny.onnx", "https://"),
    ],
)
def test_addresses_that_are_refused_before_a_request(upstream: Url, url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        upstream.resolve(UrlReference(url))
    assert words in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (File(body=CONTENT, headers={"Content-Type": "text/html; charset=utf-8"}), "a web page"),
        (File(body=b"\n<!DOCTYPE HTML><title>Log in</title>"), "a web page"),
        (File(body=POINTER), "Git LFS pointer"),
        (File(body=POINTER, ranges=False, headers={"Content-Type": "text/plain"}), "Git LFS pointer"),
    ],
)
def test_what_is_not_the_file_is_refused(upstream: Url, server: Table, said: Reply, words: str) -> None:
    server.answers["/models/tiny.onnx"] = said
    error = fails(upstream, server)
    assert isinstance(error, UsageError)
    assert words in error.message
    assert error.hint


def test_a_page_can_be_pinned_by_its_name(upstream: Url, server: Table) -> None:
    server.answers["/page.html"] = File(body=b"<html>", headers={"Content-Type": "text/html"})
    assert resolve(upstream, server, "/page.html").files[0].path == "page.html"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, UnknownModelError),
        (410, UnknownModelError),
        (451, UnknownModelError),
        (401, AuthorizationError),
        (403, AuthorizationError),
        (429, UnavailableError),
        (500, UnavailableError),
        (418, UnavailableError),
        (204, UnavailableError),
    ],
)
def test_every_status_has_its_error(
    upstream: Url, server: Table, status: int, kind: type[ModelfetchError]
) -> None:
    server.answers["/models/tiny.onnx"] = Reply(status)
    error = fails(upstream, server, f"/models/tiny.onnx?key={SECRET}")
    assert type(error) is kind
    assert "127.0.0.1" in error.message


def test_nobody_listens(upstream: Url, server: Table) -> None:
    with pytest.raises(UnavailableError, match="refused"):
        upstream.resolve(UrlReference("http://127.0.0.1:1/tiny.onnx"))


@pytest.mark.parametrize(
    "said",
    [
        File(body=CONTENT, cut=100),
        File(body=CONTENT, headers={"Content-Encoding": "gzip"}),
        File(body=CONTENT + b"more"),
    ],
    ids=["cut", "compressed", "longer"],
)
def test_a_file_that_changes_cannot_be_read(upstream: Url, server: Table, said: Reply) -> None:
    listing = resolve(upstream, server)
    server.answers["/models/tiny.onnx"] = said
    with pytest.raises(UnavailableError, match="cannot read"):
        read(upstream, listing)
