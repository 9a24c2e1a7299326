"""Releases of GitHub: which assets are listed, whose digests they have, and every refusal in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from modelfetch.errors import (
    AuthorizationError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.reference import GithubReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.github import Github
from tests.hubs.github import Asset, GithubServer, Release, rate_limit

MODEL, CONFIG = b"weights" * 100, b"{}"
SECRET = "ghp-s3cr3t-canary"
WANTED = GithubReference("owner/name", "v1.0")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sums(*lines: tuple[bytes, str]) -> bytes:
    return "".join(f"{sha256(content)}  {name}\n" for content, name in lines).encode()


@pytest.fixture
def server() -> Iterator[GithubServer]:
    release = Release("v1.0", [Asset("model.onnx", MODEL), Asset("config.json", CONFIG)])
    with GithubServer("owner/name", release) as server:
        yield server


@pytest.fixture
def github(hub: HubClient, server: GithubServer) -> Github:
    return Github(hub, server.endpoint)


def digests(listing: Listing) -> dict[str, str | None]:
    return {file.path: file.sha256 for file in listing.files}


def read(github: Github, file: UpstreamFile) -> bytes:
    with github.open(file) as pieces:
        return b"".join(pieces)


def fails(github: Github, wanted: GithubReference = WANTED) -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        github.resolve(wanted)
    assert "\n" not in caught.value.message
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


def assets_of(server: GithubServer) -> list[Asset]:
    return server.releases[0].assets


# What is listed


def test_stated_digests_cost_one_request(github: Github, server: GithubServer) -> None:
    listing = github.resolve(WANTED)
    assert digests(listing) == {"config.json": sha256(CONFIG), "model.onnx": sha256(MODEL)}
    assert [file.size for file in listing.files] == [len(CONFIG), len(MODEL)]
    assert listing.stated_by == "github"
    assert listing.reference == WANTED
    assert (listing.name, listing.revision, listing.notices) == ("name", "", ())
    assert server.targets() == ["/repos/owner/name/releases/tags/v1.0"]


def test_the_lasting_address_is_pinned_and_not_the_signed_one(github: Github, server: GithubServer) -> None:
    file = github.resolve(WANTED).files[1]
    assert file.urls == (f"{server.endpoint}/owner/name/releases/download/v1.0/model.onnx",)
    assert read(github, file) == MODEL


def test_the_latest_release_is_asked_for_without_a_tag(github: Github, server: GithubServer) -> None:
    server.releases.append(Release("v2", [Asset("new.gguf", b"new")]))
    listing = github.resolve(GithubReference("owner/name"))
    assert [file.path for file in listing.files] == ["new.gguf"]
    assert listing.reference == GithubReference("owner/name")


def test_a_tag_with_a_slash(github: Github, server: GithubServer) -> None:
    server.releases.append(Release("models/v2", [Asset("new.gguf", b"new")]))
    assert digests(github.resolve(GithubReference("owner/name", "models/v2"))) == {"new.gguf": sha256(b"new")}


@pytest.mark.parametrize(("glob", "names"), [("*.onnx", ["model.onnx"]), ("config.*", ["config.json"])])
def test_a_glob_selects_assets(github: Github, glob: str, names: list[str]) -> None:
    assert [file.path for file in github.resolve(replace(WANTED, glob=glob)).files] == names


def test_a_glob_without_a_match_names_the_assets(github: Github) -> None:
    error = fails(github, replace(WANTED, glob="*.gguf"))
    assert isinstance(error, UsageError)
    assert "'*.gguf'" in error.message
    assert "'model.onnx'" in error.hint


def test_a_release_without_assets(github: Github, server: GithubServer) -> None:
    assets_of(server).clear()
    assert "has no assets" in fails(github).message


def test_assets_that_are_not_uploaded_are_left_out(github: Github, server: GithubServer) -> None:
    assets_of(server).append(Asset("half.bin", b"", state="starter"))
    listing = github.resolve(WANTED)
    assert "half.bin" not in digests(listing)
    assert "'half.bin'" in listing.notices[0]


def test_a_renamed_repository_is_pinned_by_its_new_name(github: Github, server: GithubServer) -> None:
    server.renamed = "old/name"
    listing = github.resolve(GithubReference("old/name", "v1.0"))
    assert listing.reference == WANTED
    assert listing.notices == ("old/name was renamed to owner/name",)


# Digests that the API does not state


def without_digests(server: GithubServer, *more: Asset) -> None:
    for asset in assets_of(server):
        asset.digest = None
    assets_of(server).extend(more)


@pytest.mark.parametrize("digest", [None, "", "sha512:" + "0" * 128, "sha256:" + "G" * 64, "sha256:abc"])
def test_without_a_digest_it_has_to_be_computed(
    github: Github, server: GithubServer, digest: str | None
) -> None:
    without_digests(server)
    assets_of(server)[0].digest = digest
    listing = github.resolve(WANTED)
    assert set(digests(listing).values()) == {None}
    assert listing.stated_by == "computed"
    assert read(github, listing.files[1]) == MODEL


@pytest.mark.parametrize("name", ["SHA256SUMS", "sha256sums.txt", "SHA256SUM"])
def test_a_file_of_checksums_is_read(github: Github, server: GithubServer, name: str) -> None:
    without_digests(server, Asset(name, sums((MODEL, "model.onnx"), (b"x", "elsewhere")), digest=None))
    listing = github.resolve(replace(WANTED, glob="*.onnx"))
    assert digests(listing) == {"model.onnx": sha256(MODEL)}
    assert listing.stated_by == "github"
    assert f"'{name}'" in listing.notices[0]


def test_it_is_not_read_where_everything_is_stated(github: Github, server: GithubServer) -> None:
    assets_of(server).append(Asset("SHA256SUMS", b"anything"))
    github.resolve(WANTED)
    assert len(server.requests) == 1


def test_the_digest_of_the_api_wins(github: Github, server: GithubServer) -> None:
    without_digests(server, Asset("SHA256SUMS", sums((b"other", "model.onnx"), (CONFIG, "config.json"))))
    assets_of(server)[0].digest = f"sha256:{sha256(MODEL)}"
    found = digests(github.resolve(WANTED))
    assert (found["model.onnx"], found["config.json"]) == (sha256(MODEL), sha256(CONFIG))


@pytest.mark.parametrize(
    "asset",
    [
        Asset("SHA256SUMS", b"<html>not found</html>"),
        Asset("SHA256SUMS", sums((MODEL, "model.onnx")) + b"d41d8cd98f00b204e9800998ecf8427e  config.json\n"),
        Asset("SHA256SUMS", sums((MODEL, "model.onnx"), (CONFIG, "model.onnx"))),
        Asset("SHA256SUMS", sums((MODEL, "model.onnx")), digest="sha256:" + "0" * 64),
        Asset("SHA256SUMS", sums((MODEL, "model.onnx")), size=200, digest=None),
        Asset("SHA256SUMS", b"\xff\xfe\x00", digest=None),
        Asset("SHA256SUMS", b"", size=1 << 30, digest=None),
    ],
    ids=["page", "md5", "twice", "wrong digest", "wrong size", "no text", "huge"],
)
def test_a_wrong_file_of_checksums_is_not_used_at_all(
    github: Github, server: GithubServer, asset: Asset
) -> None:
    without_digests(server, asset)
    listing = github.resolve(replace(WANTED, glob="*.onnx"))
    assert digests(listing) == {"model.onnx": None}
    assert "was not used" in listing.notices[0]


# Tokens


def test_the_token_goes_to_the_api_only(hub: HubClient, server: GithubServer) -> None:
    server.token = SECRET
    github = Github(hub, server.endpoint, SECRET)
    file = github.resolve(WANTED).files[1]
    assert read(github, file) == MODEL
    given = {each.path.split("/")[1]: each.headers.get("authorization") for each in server.requests}
    assert given == {"repos": f"Bearer {SECRET}", "owner": None, "signed": None}


def test_a_private_asset_is_explained(hub: HubClient, server: GithubServer) -> None:
    github = Github(hub, server.endpoint, SECRET)
    file = UpstreamFile("a.bin", 5, None, fetch_url=f"{server.endpoint}/private")
    with pytest.raises(AuthorizationError, match="has it not for everyone"):
        read(github, file)


@pytest.mark.parametrize(
    "api", ["http://github.example/api/v3", "ftp://api.github.com", "https://u:p@x.example"]
)
def test_an_unsafe_api_is_refused(hub: HubClient, api: str) -> None:
    with pytest.raises(UsageError, match="GITHUB_API_URL"):
        Github(hub, api)


# Refusals


def test_missing_or_private(github: Github) -> None:
    error = fails(github, GithubReference("owner/other", "v1.0"))
    assert isinstance(error, UnknownModelError)
    assert error.message.endswith("has no repository 'owner/other', or it is private")
    assert "GITHUB_TOKEN" in error.hint


def test_an_unknown_tag_names_the_closest(github: Github) -> None:
    error = fails(github, GithubReference("owner/name", "v1.00"))
    assert isinstance(error, UnknownModelError)
    assert "has no release 'v1.00'" in error.message
    assert "Did you mean 'v1.0'?" in error.message


def test_no_release_at_all(github: Github, server: GithubServer) -> None:
    server.releases.clear()
    assert "has no release on" in fails(github, GithubReference("owner/name")).message


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, AuthorizationError, "refused the token in GITHUB_TOKEN"),
        (403, AuthorizationError, "access refused (403)"),
        (451, AuthorizationError, "is disabled"),
        (429, UnavailableError, "the rate limit"),
        (500, UnavailableError, "internal server error (500)"),
        (503, UnavailableError, "service unavailable (503)"),
        (418, UnavailableError, "unexpected answer"),
    ],
)
def test_every_status_has_words(
    github: Github, server: GithubServer, status: int, kind: type[ModelfetchError], words: str
) -> None:
    server.status = status
    error = fails(github)
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize("has_date", [True, False])
def test_a_rate_limit_says_when_it_ends(github: Github, server: GithubServer, has_date: bool) -> None:
    server.remaining = 0
    server.limit_fields = rate_limit(1800)
    if not has_date:
        del server.limit_fields["Date"]
    error = fails(github)
    assert isinstance(error, UnavailableError)
    assert ("it ends in 30 min" if has_date else "UTC") in error.message
    assert "GITHUB_TOKEN" in error.hint
    assert len(server.requests) == 1


def test_a_short_rate_limit_is_waited_for(github: Github, server: GithubServer) -> None:
    server.remaining, server.limit_fields = 0, rate_limit(5)

    def lift(_: float) -> None:
        server.remaining = None

    github._hub._sleep = lift
    assert len(github.resolve(WANTED).files) == 2


GOOD: dict[str, Any] = {
    "name": "a.bin",
    "size": 1,
    "digest": None,
    "state": "uploaded",
    "browser_download_url": "{url}/owner/name/releases/download/v1.0/a.bin",
}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "assets",
    [
        None,
        {},
        [1],
        [GOOD | {"size": -1}],
        [GOOD | {"size": "1"}],
        [GOOD | {"size": True}],
        [GOOD | {"name": None}],
        [GOOD | {"name": "../a"}],
        [GOOD | {"name": ""}],
        [GOOD, GOOD],
        [GOOD | {"digest": 5}],
        [GOOD | {"browser_download_url": "https://evil.example/a.bin"}],
        [GOOD | {"browser_download_url": "file:///etc/passwd"}],
        [GOOD | {"browser_download_url": "http://user:pw@127.0.0.1/a.bin"}],
        [GOOD | {"name": f"{n}"} for n in range(1001)],
    ],
)
def test_nonsense_is_refused(github: Github, server: GithubServer, assets: Any) -> None:
    listed = json.loads(json.dumps(assets).replace("{url}", server.endpoint))
    server.override = {"tag_name": "v1.0", "html_url": "", "assets": listed}
    assert isinstance(fails(github), UnavailableError)


@pytest.mark.parametrize("document", [None, [], "text", 5, {"assets": []}])
def test_a_document_of_another_form_is_refused(github: Github, server: GithubServer, document: Any) -> None:
    server.override = document if document is not None else []
    assert isinstance(fails(github), UnavailableError)


def test_hostile_names_are_shown_without_control_characters(github: Github, server: GithubServer) -> None:
    server.override = {
        "tag_name": "\x1b[31m\n::error::",
        "html_url": "",
        "assets": [GOOD | {"name": "\x1b/"}],
    }
    assert "\x1b" not in fails(github).message
