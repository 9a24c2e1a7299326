"""Hugging Face: which commit and files a reference stands for, and every refusal in words of its own."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest

from modelfetch.errors import (
    AuthorizationError,
    ModelfetchError,
    UnavailableError,
    UnknownModelError,
    UsageError,
)
from modelfetch.model.manifest import HuggingFaceRepo
from modelfetch.model.reference import RepoReference
from modelfetch.net.hub_client import HubClient
from modelfetch.upstreams.base import Listing, UpstreamFile
from modelfetch.upstreams.huggingface import HuggingFace
from tests.hubs.huggingface import Cdn, HubRepo, HuggingFaceHub, entry_of, git_blob, pointer
from tests.hubs.server import Reply, Request
from tests.upstreams.conftest import Waits

TOKEN = "hf_canary_canary_canary"
CONFIG, WEIGHTS = b'{"a": 1}\n', bytes(range(256)) * 8
FILES = {"config.json": CONFIG, "onnx/model.onnx": WEIGHTS, "README.md": b""}


def resolve(
    hub: HubClient,
    hf: HuggingFaceHub,
    text: str = "org/repo",
    *,
    token: str | None = None,
    **parts: Any,
) -> Listing:
    return HuggingFace(hub, hf.endpoint, token).resolve(RepoReference("hf", text, **parts))


def refused(hub: HubClient, hf: HuggingFaceHub, *args: Any, **parts: Any) -> ModelfetchError:
    with pytest.raises(ModelfetchError) as caught:
        resolve(hub, hf, *args, **parts)
    shown = f"{caught.value.message} {caught.value.hint}"
    assert "\n" not in shown
    assert TOKEN not in shown
    assert caught.value.hint
    return caught.value


def read(upstream: HuggingFace, file: UpstreamFile) -> bytes:
    with upstream.open(file) as pieces:
        return b"".join(pieces)


def test_a_listing_has_digests_of_lfs_files_and_blob_ids_of_the_others(
    hub: HubClient, hf: HuggingFaceHub
) -> None:
    repo = hf.add("org/repo", FILES, cardData={"license": "apache-2.0", "model_name": "The Repo"})
    listing = resolve(hub, hf)
    commit = repo.branches["main"]
    assert listing.revision == commit
    assert listing.huggingface == HuggingFaceRepo("org/repo", commit)
    assert (listing.name, listing.kind, listing.stated_by) == ("repo", "model", "huggingface")
    assert (listing.license, listing.title) == ("Apache-2.0", "The Repo")
    assert listing.homepage == f"{hf.endpoint}/org/repo"
    assert (listing.include, listing.notices, listing.reference.text) == ((), (), "hf:org/repo")
    assert [(file.path, file.size, file.sha256, file.git_blob) for file in listing.files] == [
        ("README.md", 0, None, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        ("config.json", len(CONFIG), None, git_blob(CONFIG)),
        ("onnx/model.onnx", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest(), None),
    ]
    assert listing.files[2].fetch_url == f"{hf.endpoint}/org/repo/resolve/{commit}/onnx/model.onnx"
    assert not hf.targets("/resolve/")


@pytest.mark.parametrize("name", ["branch", "a/branch", "v1.0", "refs/pr/1", "short", "full"])
def test_every_form_of_revision_becomes_a_full_commit(hub: HubClient, hf: HuggingFaceHub, name: str) -> None:
    repo = hf.add("org/repo", FILES)
    old = repo.branches["main"]
    for branch in ("branch", "a/branch", "refs/pr/1"):
        repo.branches[branch] = old
    repo.tags["v1.0"] = old
    repo.commit({"config.json": b"new"})
    revision = {"short": old[:9], "full": old}.get(name, name)
    listing = resolve(hub, hf, revision=revision)
    assert listing.revision == old
    assert listing.reference.text == f"hf:org/repo@{revision}"
    assert len(listing.files) == 3


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_datasets_and_spaces(hub: HubClient, hf: HuggingFaceHub, kind: Any) -> None:
    hf.add("org/repo", FILES, kind=kind)
    upstream = HuggingFace(hub, hf.endpoint, None)
    listing = upstream.resolve(RepoReference("hf", "org/repo", type=kind))
    assert listing.kind == ("dataset" if kind == "dataset" else "model")
    assert listing.homepage == f"{hf.endpoint}/{kind}s/org/repo"
    assert listing.huggingface is not None
    assert listing.huggingface.type == kind
    assert read(upstream, listing.files[1]) == CONFIG
    assert all(target.startswith((f"/api/{kind}s/", f"/{kind}s/")) for target in hf.targets())


def test_a_renamed_repository_is_pinned_under_its_new_name(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("google-bert/bert-base", FILES)
    hf.renamed["bert-base"] = "google-bert/bert-base"
    listing = resolve(hub, hf, "bert-base")
    assert listing.huggingface is not None
    assert listing.huggingface.repo == "google-bert/bert-base"
    assert listing.reference.text == "hf:google-bert/bert-base"
    assert listing.notices == ("bert-base was renamed to google-bert/bert-base; that name is pinned",)


@pytest.mark.slow
def test_more_than_2500_files_on_many_pages(hub: HubClient, hf: HuggingFaceHub) -> None:
    files = {f"d{n % 7}/part-{n:05}.json": b"%d" % n for n in range(2600)}
    hf.add("org/repo", files)
    listing = resolve(hub, hf)
    assert [file.path for file in listing.files] == sorted(files)
    assert len(hf.targets("/tree/")) == 3


def test_too_many_files_are_refused(
    hub: HubClient, hf: HuggingFaceHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelfetch.upstreams.collect.MAX_FILES", 20)
    hf.add("org/repo", {f"{n}.json": b"" for n in range(21)})
    error = refused(hub, hf)
    assert isinstance(error, UsageError)
    assert "more than 20 files" in error.message


def test_a_next_page_on_another_server_is_never_requested(hub: HubClient, hf: HuggingFaceHub) -> None:
    with HuggingFaceHub() as other:
        hf.add("org/repo", FILES)
        link = {"Link": f'<{other.endpoint}/api/models/org/repo/tree/x>; rel="next"'}
        hf.script("/tree/", Reply(200, link, b"[]"))
        error = refused(hub, hf, token=TOKEN)
        assert isinstance(error, UnavailableError)
        assert "another server" in error.message
        assert not other.requests


def test_pages_that_never_end_are_refused(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES)

    def again(request: Request) -> Reply:
        return Reply(200, {"Link": f'<{request.target}>; rel="next"'}, b"[]")

    hf.script("/tree/", again, again)
    assert "does not end" in refused(hub, hf).message


def test_a_branch_that_moves_while_it_is_listed_is_listed_again(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES)
    old = repo.branches["main"]

    def moved(request: Request) -> Reply:
        reply = hf.answer(request)
        repo.commit({"config.json": b"new"})
        return reply

    hf.script("/tree/", moved)
    listing = resolve(hub, hf)
    new = repo.branches["main"]
    assert (listing.revision, len(listing.files)) == (new, 1)
    assert listing.notices == (
        f"hf:org/repo: 'main' moved from {old[:12]} to {new[:12]} while it was listed; it was listed again",
    )
    hf.script("/tree/", moved, moved, moved)
    assert "moved 3 times" in refused(hub, hf).message


def test_a_commit_is_listed_once(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES)
    resolve(hub, hf, revision=repo.branches["main"])
    assert len(hf.requests) == 2


def test_a_commit_that_a_forced_push_removed(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES)
    repo.branches["main"] = "f" * 40
    error = refused(hub, hf)
    assert isinstance(error, UnavailableError)
    assert "has no such commit" in error.message


MISSING = {"X-Error-Code": "RepoNotFound"}


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("reply", "token", "kind", "words"),
    [
        (Reply(401, MISSING), None, UnknownModelError, "does not exist on * is private, or requires a login"),
        (Reply(401), None, UnknownModelError, "is private, or requires a login"),
        (Reply(401, MISSING), TOKEN, UnknownModelError, "does not exist"),
        (Reply(404), None, UnknownModelError, "does not exist"),
        (
            Reply(401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            TOKEN,
            AuthorizationError,
            "refused the token: it is wrong or has expired",
        ),
        (Reply(401, {"X-Error-Code": "GatedRepo"}), None, AuthorizationError, "gated: it requires a login"),
        (Reply(403, {"X-Error-Code": "GatedRepo"}), TOKEN, AuthorizationError, "has not been granted access"),
        (
            Reply(403, {"X-Error-Message": "Access to this resource is disabled."}),
            None,
            AuthorizationError,
            "is disabled",
        ),
        (Reply(403), TOKEN, AuthorizationError, "refused access to hf:org/repo (403)"),
        (Reply(418), None, UnavailableError, "unexpected answer"),
        (Reply(421), None, UnavailableError, "does not know itself by this name (421)"),
        (Reply(200, body=b"<html>"), None, UnavailableError, "not JSON"),
        (Reply(200, body=b"[]"), None, UnavailableError, "is not an object"),
        (Reply.json({"id": "org/repo"}), None, UnavailableError, "does not state the commit"),
        (Reply.json({"sha": "main"}), None, UnavailableError, "does not state the commit"),
        (Reply.json({"sha": "a" * 40, "id": "../.."}), None, UnavailableError, "invalid name"),
        (Reply.json({"sha": 7}), None, UnavailableError, "sha is not a string"),
        (Reply.json({"sha": "a" * 40, "disabled": True}), None, AuthorizationError, "is disabled"),
        (Reply(307, {"Location": "http://user@x.example/"}), None, UnavailableError, "a redirect"),
    ],
)
def test_every_refusal_has_words_of_its_own(
    hub: HubClient,
    hf: HuggingFaceHub,
    reply: Reply,
    token: str | None,
    kind: type[ModelfetchError],
    words: str,
) -> None:
    hf.script("/revision/", *[reply] * 5)
    error = refused(hub, hf, token=token)
    assert type(error) is kind
    for part in words.split(" * "):
        assert part in error.message


def test_an_unknown_revision_has_a_suggestion(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES).tags["v1.0"] = "0" * 40
    error = refused(hub, hf, revision="v1.O")
    assert isinstance(error, UnknownModelError)
    assert error.message == ("hf:org/repo@v1.O has no branch, tag or commit 'v1.O'. Did you mean 'v1.0'?")


def test_a_private_repository_is_read_with_its_token(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES)
    repo.token = TOKEN
    upstream = HuggingFace(hub, hf.endpoint, TOKEN)
    listing = upstream.resolve(RepoReference("hf", "org/repo"))
    assert read(upstream, listing.files[1]) == CONFIG
    assert isinstance(refused(hub, hf), UnknownModelError)
    assert isinstance(refused(hub, hf, token="wrong"), AuthorizationError)


def test_the_large_files_of_a_gated_repository_can_be_listed(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES, gated="manual")
    repo.token, repo.is_gated = TOKEN, True
    upstream = HuggingFace(hub, hf.endpoint, None)
    listing = upstream.resolve(RepoReference("hf", "org/repo"))
    assert listing.files[2].sha256 is not None
    assert "is gated" in listing.notices[0]
    with pytest.raises(AuthorizationError, match=r"config\.json.*access refused") as caught:
        read(upstream, listing.files[1])
    page = f"{hf.endpoint}/org/repo"
    login = "then set HF_TOKEN or run `hf auth login`."
    assert caught.value.hint == f"hf:org/repo is gated. Accept the terms at {page}, {login}"


def test_a_rate_limit_is_waited_for(hub: HubClient, hf: HuggingFaceHub, waits: Waits) -> None:
    hf.add("org/repo", FILES)
    limited = Reply(
        429, {"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    )
    hf.script("/revision/", limited, Reply(429, {"Retry-After": "7"}))
    assert len(resolve(hub, hf).files) == 3
    assert [seconds >= least for seconds, least in zip(waits.seconds, (56, 7), strict=True)] == [True, True]
    assert "too many requests (429)" in waits.lines[0]


def test_a_rate_limit_that_stays_is_unavailable(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES)
    hf.script("/revision/", Reply(429, {"Retry-After": "4000"}))
    error = refused(hub, hf)
    assert isinstance(error, UnavailableError)
    assert error.message == (
        f"cannot resolve hf:org/repo: {hf.host}: too many requests (429); it asks to wait 4000 s"
    )


def test_a_hub_that_is_down_is_unavailable(hub: HubClient, hf: HuggingFaceHub, waits: Waits) -> None:
    hf.is_dead = True
    error = refused(hub, hf)
    assert isinstance(error, UnavailableError)
    assert len(waits.seconds) == 4


def entry(**changes: Any) -> dict[str, Any]:
    return entry_of("model.bin", WEIGHTS) | changes


def lfs(**changes: Any) -> dict[str, Any]:
    return entry(lfs=entry_of("model.bin", WEIGHTS)["lfs"] | changes)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (entry(oid="0" * 40), UnavailableError, "contradict each other"),
        (lfs(oid="0" * 64), UnavailableError, "contradict each other"),
        (lfs(size=5), UnavailableError, "contradict each other"),
        (lfs(oid="short"), UnavailableError, "contradict each other"),
        (entry(type="unknown"), UsageError, "neither a file nor a directory"),
        (entry(size=-1), UnavailableError, "size is not a whole number"),
        (entry(size=True), UnavailableError, "size is not a whole number"),
        (entry(path=None), UnavailableError, "path is not a string"),
        (entry(path="../model.bin"), UnavailableError, "unsafe path"),
        (entry(path="/etc/passwd"), UnavailableError, "unsafe path"),
        (entry(path="a//b"), UnavailableError, "unsafe path"),
        (entry(path="a\x00b"), UnavailableError, "unsafe path"),
        (entry(lfs=[]), UnavailableError, "is not an object"),
        ([], UnavailableError, "is not an object"),
    ],
)
def test_hostile_entries_are_refused(
    hub: HubClient, hf: HuggingFaceHub, found: Any, kind: type[ModelfetchError], words: str
) -> None:
    hf.add("org/repo", FILES)
    hf.script("/tree/", Reply.json([found]))
    error = refused(hub, hf)
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    ("found", "sha256"),
    [
        (entry(), hashlib.sha256(WEIGHTS).hexdigest()),
        (entry(xetHash="c" * 64), hashlib.sha256(WEIGHTS).hexdigest()),
        (entry(oid=None), hashlib.sha256(WEIGHTS).hexdigest()),
        (lfs(pointerSize=200), hashlib.sha256(WEIGHTS).hexdigest()),
        ({"type": "file", "path": "m", "size": 5, "oid": "d" * 40, "xetHash": "c" * 64}, None),
        ({"type": "file", "path": "m", "size": 5}, None),
    ],
)
def test_only_lfs_states_a_sha256(hub: HubClient, hf: HuggingFaceHub, found: Any, sha256: str | None) -> None:
    hf.add("org/repo", FILES)
    hf.script("/tree/", Reply.json([found]))
    [file] = resolve(hub, hf).files
    assert file.sha256 == sha256


def test_a_path_listed_twice(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES)
    hf.script("/tree/", Reply.json([entry(), entry()]), Reply.json([entry(), entry_of("model.bin", b"x")]))
    assert len(resolve(hub, hf).files) == 1
    assert "twice, with different contents" in refused(hub, hf).message


def branches(repo: HubRepo) -> None:
    commit = repo.branches["main"]
    repo.branches |= {"feature/x": commit, "feature": commit}
    repo.tags["v1"] = commit


@pytest.mark.parametrize(
    ("revision", "tail", "ref", "include", "paths"),
    [
        ("main", "onnx", "main", ("onnx/*",), ["onnx/model.onnx"]),
        ("main", "onnx/model.onnx", "main", ("onnx/model.onnx",), ["onnx/model.onnx"]),
        ("feature", "x", "feature/x", (), ["README.md", "a[1]/b.json", "config.json", "onnx/model.onnx"]),
        ("feature", "x/onnx", "feature/x", ("onnx/*",), ["onnx/model.onnx"]),
        ("feature", "onnx", "feature", ("onnx/*",), ["onnx/model.onnx"]),
        ("refs", "pr/1/onnx", "refs/pr/1", ("onnx/*",), ["onnx/model.onnx"]),
        ("v1", "a[1]", "v1", ("a[[]1]/*",), ["a[1]/b.json"]),
    ],
)
def test_the_end_of_a_page_address_is_revision_and_folder(
    hub: HubClient,
    hf: HuggingFaceHub,
    revision: str,
    tail: str,
    ref: str,
    include: tuple[str, ...],
    paths: list[str],
) -> None:
    repo = hf.add("org/repo", FILES | {"a[1]/b.json": b"{}"})
    branches(repo)
    repo.branches["refs/pr/1"] = repo.branches["main"]
    listing = resolve(hub, hf, revision=revision, tail=tail)
    assert listing.reference.text == f"hf:org/repo@{ref}"
    assert (listing.include, [file.path for file in listing.files]) == (include, paths)


def test_a_folder_that_does_not_exist(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES)
    error = refused(hub, hf, revision="main", tail="nowhere")
    assert isinstance(error, UnknownModelError)
    assert "no file or folder 'nowhere'" in error.message


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("weights.txt", pointer(WEIGHTS), "Git LFS pointer"),
        ("sub/link.json", b"../config.json", "symbolic link to 'config.json'"),
    ],
)
def test_files_that_stand_for_others_are_refused(
    hub: HubClient, hf: HuggingFaceHub, path: str, content: bytes, words: str
) -> None:
    hf.add("org/repo", FILES | {path: content})
    upstream = HuggingFace(hub, hf.endpoint, None)
    listing = upstream.resolve(RepoReference("hf", "org/repo"))
    file = next(file for file in listing.files if file.path == path)
    with pytest.raises(UsageError, match=words):
        read(upstream, file)


def test_a_text_that_names_a_file_is_no_link(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES | {"latest.txt": b"config.json"})
    upstream = HuggingFace(hub, hf.endpoint, None)
    listing = upstream.resolve(RepoReference("hf", "org/repo"))
    file = next(file for file in listing.files if file.path == "latest.txt")
    assert read(upstream, file) == b"config.json"


def test_files_are_read_without_compression_and_the_token_stays_at_its_origin(hub: HubClient) -> None:
    with Cdn() as cdn, HuggingFaceHub(cdn=cdn) as hf:
        hf.add("org/repo", FILES)
        cdn.add(WEIGHTS)
        upstream = HuggingFace(hub, hf.endpoint, TOKEN)
        listing = upstream.resolve(RepoReference("hf", "org/repo"))
        assert read(upstream, listing.files[2]) == WEIGHTS
        assert {request.token for request in hf.requests} == {TOKEN}
        assert [request.token for request in cdn.requests] == [""]
        assert {request.headers["accept-encoding"] for request in hf.requests} == {"identity"}


def test_a_file_that_is_longer_than_listed_is_not_read_to_its_end(hub: HubClient, hf: HuggingFaceHub) -> None:
    repo = hf.add("org/repo", FILES)
    upstream = HuggingFace(hub, hf.endpoint, None)
    listing = upstream.resolve(RepoReference("hf", "org/repo"))
    repo.commits[listing.revision]["config.json"] = bytes(100_000)
    with pytest.raises(UnavailableError, match="sent more than 9 bytes"):
        read(upstream, listing.files[1])


def test_files_over_50_gb_have_a_notice(hub: HubClient, hf: HuggingFaceHub) -> None:
    hf.add("org/repo", FILES)
    hf.script("/tree/", Reply.json([{"type": "file", "path": "huge.json", "size": 60 * 10**9}]))
    [notice] = resolve(hub, hf).notices
    assert notice.startswith("'huge.json' has more than 50 GB")


@pytest.mark.slow
def test_20000_files_are_listed_in_little_time(hub: HubClient, hf: HuggingFaceHub) -> None:
    """A listing costs little per file; the bound is ten times what it takes on a busy machine."""
    hf.add("org/repo", FILES)
    page = [{"type": "file", "path": f"d/{n:05}.json", "size": 1, "oid": "0" * 40} for n in range(20_000)]
    hf.script("/tree/", Reply.json(page))
    began = time.process_time()
    assert len(resolve(hub, hf).files) == 20_000
    assert time.process_time() - began < 10
