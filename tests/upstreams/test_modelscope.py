"""ModelScope: full listings of a site that cuts them, and errors that come as success."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from modelfetch.errors import (
    AuthorizationError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.manifest import ModelScopeRepo
from modelfetch.model.reference import RepoReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.modelscope import ModelScope
from tests.hubs.modelscope import CUT_AT, ModelScopeSite, entry_of
from tests.hubs.server import Reply

TOKEN = "ms-canary-canary-canary"
CONFIG, WEIGHTS = b'{"a": 1}\n', bytes(range(256)) * 8
FILES = {"config.json": CONFIG, "onnx/model.onnx": WEIGHTS}


def resolve(
    hub: HubClient, site: ModelScopeSite, repo: str = "org/repo", token: str | None = None, **parts: Any
) -> Listing:
    return ModelScope(hub, site.endpoint, token).resolve(RepoReference("ms", repo, **parts))


def refused(hub: HubClient, site: ModelScopeSite, *args: Any, **parts: Any) -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        resolve(hub, site, *args, **parts)
    shown = f"{caught.value.message} {caught.value.hint}"
    assert "\n" not in shown
    assert TOKEN not in shown
    assert caught.value.hint
    return caught.value


def read(upstream: ModelScope, file: UpstreamFile) -> bytes:
    with upstream.open(file) as pieces:
        return b"".join(pieces)


def test_every_file_has_a_stated_sha256(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES, License="apache-2.0", ChineseName="模型")
    listing = resolve(hub, site)
    assert listing.modelscope == ModelScopeRepo("org/repo", "master")
    assert (listing.revision, listing.name, listing.stated_by) == ("", "repo", "modelscope")
    assert (listing.license, listing.title, listing.kind) == ("Apache-2.0", "模型", "model")
    assert listing.homepage == f"{site.endpoint}/models/org/repo"
    assert listing.reference.text == "ms:org/repo"
    assert [(file.path, file.size, file.sha256) for file in listing.files] == [
        ("config.json", len(CONFIG), hashlib.sha256(CONFIG).hexdigest()),
        ("onnx/model.onnx", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest()),
    ]
    assert not site.targets("FilePath=")


def test_another_branch(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES).revisions["v1/a b"] = {"x": b"1"}
    upstream = ModelScope(hub, site.endpoint, None)
    listing = upstream.resolve(RepoReference("ms", "org/repo", "v1/a b"))
    assert listing.modelscope == ModelScopeRepo("org/repo", "v1/a b")
    assert read(upstream, listing.files[0]) == b"1"


def test_an_unknown_revision_is_no_empty_repository(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES)
    error = refused(hub, site, revision="maste")
    assert isinstance(error, UnknownModelError)
    assert error.message == "ms:org/repo@maste has no branch or tag 'maste'. Did you mean 'master'?"


def test_a_revision_without_files(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", {})
    assert "has no files at 'master'" in refused(hub, site).message


@pytest.mark.slow
def test_a_listing_that_was_cut_is_replaced_by_those_of_directories(
    hub: HubClient, site: ModelScopeSite
) -> None:
    files = {f"d{n % 3}/e{n % 2}/{n:05}.json": b"%d" % n for n in range(3600)}
    site.add("org/repo", files | FILES)
    assert [file.path for file in resolve(hub, site).files] == sorted(files | FILES)


def test_a_directory_that_is_refused_at_random(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", {f"d{n % 2}/{n:05}.json": b"" for n in range(CUT_AT)})
    site.script("Root=d1", Reply(403), Reply(403))
    assert len(resolve(hub, site).files) == CUT_AT


def test_a_listing_of_one_entry_less_is_whole(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", {f"{n:05}.json": b"" for n in range(CUT_AT - 1)})
    assert len(resolve(hub, site).files) == CUT_AT - 1
    assert len(site.targets("/repo/files")) == 1


def test_a_directory_that_cannot_be_listed_in_full_is_refused(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", {f"data/{n:05}.json": b"" for n in range(CUT_AT)})
    error = refused(hub, site)
    assert isinstance(error, UsageError)
    assert "at most 3000 entries of 'data'" in error.message


def test_a_directory_that_contains_itself_is_refused(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES)
    cut = Reply.json({"Code": 200, "Data": {"Files": [entry_of(str(n), b"") for n in range(CUT_AT)]}})
    folder = {"Path": "a", "Type": "tree"}
    alone = Reply.json({"Code": 200, "Data": {"Files": [folder]}})
    site.script("/repo/files", cut, alone, cut, alone)
    assert "lists 'a' in 'a'" in refused(hub, site).message


def test_datasets_have_pages_some_of_which_are_refused_at_random(
    hub: HubClient, site: ModelScopeSite
) -> None:
    files = {f"{n:04}.json": b"" for n in range(450)}
    site.add("org/repo", files, kind="dataset")
    site.denied_pages = ["2", "3", "3"]
    listing = resolve(hub, site, type="dataset")
    assert [file.path for file in listing.files] == sorted(files)
    assert (listing.kind, listing.modelscope) == ("dataset", ModelScopeRepo("org/repo", "master", "dataset"))
    assert len(site.targets("/repo/tree")) == 6


def test_a_refusal_of_the_first_page_is_believed(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES, kind="dataset")
    site.denied_pages = ["1"]
    assert isinstance(refused(hub, site, type="dataset"), AuthorizationError)
    assert len(site.targets("/repo/tree")) == 1


def test_a_page_that_stays_refused(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", {f"{n:04}.json": b"" for n in range(250)}, kind="dataset")
    site.denied_pages = ["2"] * 4
    assert (
        "refused a part of the listing of ms:datasets/org/repo 4 times"
        in refused(hub, site, type="dataset").message
    )


def test_pages_that_repeat_are_refused(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES, kind="dataset")
    page = Reply.json({"Code": 200, "Data": {"Files": [entry_of(str(n), b"") for n in range(200)]}})
    site.script("/repo/tree", page, page)
    assert "the same page" in refused(hub, site, type="dataset").message


def document(code: object = 200, success: object = True, message: object = "", data: object = None) -> Reply:
    return Reply.json({"Code": code, "Success": success, "Message": message, "Data": data})


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("reply", "token", "kind", "words"),
    [
        (Reply(404), None, UnknownModelError, "does not exist on * is private, or requires a login"),
        (document(10010205001, False, "record not found"), None, UnknownModelError, "does not exist"),
        (document(10010205001, False, "模型不存在"), None, UnknownModelError, "does not exist"),
        (Reply(401), TOKEN, AuthorizationError, "refused the token"),
        (Reply(401), None, AuthorizationError, "refused access"),
        (Reply(403), TOKEN, AuthorizationError, "refused access to ms:org/repo"),
        (document(403, False, "access denied"), None, AuthorizationError, "refused access"),
        (document(10030, False, "no permission"), None, AuthorizationError, "refused access"),
        (document(500, False, "boom\x1b[31m"), None, UnavailableError, "(code 500): 'boom[31m'"),
        (document(200, False), None, UnavailableError, "cannot list"),
        (document("odd", True), None, UnavailableError, "cannot list"),
        (document(data={"Files": "none"}), None, UnavailableError, "is not a list"),
        (Reply(200, body=b"<html>"), None, UnavailableError, "not JSON"),
        (Reply.json([]), None, UnavailableError, "is not an object"),
        (Reply(418), None, UnavailableError, "code 418"),
    ],
)
def test_errors_come_with_a_status_or_in_the_document(
    hub: HubClient,
    site: ModelScopeSite,
    reply: Reply,
    token: str | None,
    kind: type[ModelfetchError],
    words: str,
) -> None:
    site.script("/repo/files", *[reply] * 5)
    error = refused(hub, site, token=token)
    assert type(error) is kind
    for part in words.split(" * "):
        assert part in error.message


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"Path": "../x"}, UnavailableError, "unsafe path"),
        ({"Path": "/x"}, UnavailableError, "unsafe path"),
        ({"Path": "x/"}, UnavailableError, "unsafe path"),
        ({"Path": ""}, UnavailableError, "unsafe path"),
        ({"Path": 1}, UnavailableError, "Path is not a string"),
        ({"Size": -1}, UnavailableError, "Size is not a whole number"),
        ({"Mode": "120000"}, UsageError, "symbolic link or a submodule"),
        ({"Mode": 40960}, UsageError, "symbolic link or a submodule"),
        ({"Type": "commit"}, UsageError, "symbolic link or a submodule"),
    ],
)
def test_hostile_entries_are_refused(
    hub: HubClient,
    site: ModelScopeSite,
    changes: dict[str, Any],
    kind: type[ModelfetchError],
    words: str,
) -> None:
    site.add("org/repo", FILES).entries["config.json"] = entry_of("config.json", CONFIG) | changes
    error = refused(hub, site)
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize("sha256", ["", None, "0" * 40])
def test_a_digest_that_is_none_is_not_stated(
    hub: HubClient, site: ModelScopeSite, sha256: str | None
) -> None:
    site.add("org/repo", FILES).entries["config.json"] = entry_of("config.json", CONFIG) | {"Sha256": sha256}
    assert resolve(hub, site).files[0].sha256 is None


def test_the_token_is_sent_to_the_site(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES).token = TOKEN
    upstream = ModelScope(hub, site.endpoint, TOKEN)
    listing = upstream.resolve(RepoReference("ms", "org/repo"))
    assert read(upstream, listing.files[1]) == WEIGHTS
    assert {request.token for request in site.requests} == {TOKEN}
    assert isinstance(refused(hub, site), UnknownModelError)


def test_the_end_of_a_page_address_is_revision_and_folder(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES).revisions["a/b"] = FILES
    listing = resolve(hub, site, revision="a", tail="b/onnx")
    assert listing.reference.text == "ms:org/repo@a/b"
    assert (listing.include, [file.path for file in listing.files]) == (("onnx/*",), ["onnx/model.onnx"])
    assert isinstance(refused(hub, site, revision="master", tail="x"), UnknownModelError)


def test_studios_cannot_be_pinned(hub: HubClient, site: ModelScopeSite) -> None:
    assert isinstance(refused(hub, site, type="space"), UsageError)
    assert not site.requests


def test_words_are_not_worth_a_failure(hub: HubClient, site: ModelScopeSite) -> None:
    site.add("org/repo", FILES)
    site.script("/models/org/repo", site.answer, Reply(403))
    listing = resolve(hub, site)
    assert (listing.license, listing.title) == ("", "repo")
