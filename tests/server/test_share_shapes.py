"""The cache in the shapes that foreign clients know: Hugging Face, a registry, a trustless gateway."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelfetch.bundle.documents import artifact_of, digest
from modelfetch.ipfs.car import CarReader
from modelfetch.ipfs.cid import RAW
from modelfetch.store.chunk_maps import one_chunk_cid
from tests.patience import IN_TIME
from tests.server.running import Answer, until
from tests.server.shapes import Shapes
from tests.share.home import BIG, COMMIT, CONTENTS, MIB, Home, built, model

CONFIG = CONTENTS["config.json"]
ROOT = built(BIG).root.text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A machine for all tests that change nothing there."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.place(model(oci="registry.example/models/tiny"))
    return home


@pytest.fixture(scope="module")
def shapes(home: Home) -> Iterator[Shapes]:
    with Shapes(home) as server:
        yield server


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A machine without a model, for one test."""
    return Home(tmp_path)


@pytest.fixture
def own_shapes(own_home: Home) -> Iterator[Shapes]:
    with Shapes(own_home) as server:
        yield server


def lower(answer: Answer) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


# Hugging Face


@pytest.mark.quick(every=3)
@pytest.mark.parametrize("revision", ["main", COMMIT, COMMIT[:12]])
@pytest.mark.parametrize("repo", ["org/tiny", "tiny"])
def test_a_file_has_the_headers_that_clients_need(shapes: Shapes, repo: str, revision: str) -> None:
    path = f"/{repo}/resolve/{revision}/onnx/model.onnx"
    for method in ("HEAD", "GET"):
        answer = shapes.get(path, method)
        headers = lower(answer)
        assert answer.status == 200
        assert headers["x-repo-commit"] == COMMIT
        assert headers["etag"] == headers["x-linked-etag"] == f'"{digest(BIG)}"'
        assert headers["content-length"] == headers["x-linked-size"] == str(len(BIG))
        assert "location" not in headers
        assert not any("xet" in name for name in headers)
        assert answer.body == (BIG if method == "GET" else b"")


def test_only_a_commit_may_be_kept_by_caches(shapes: Shapes) -> None:
    def caching(revision: str) -> str:
        return lower(shapes.get(f"/org/tiny/resolve/{revision}/config.json", "HEAD"))["cache-control"]

    assert "immutable" in caching(COMMIT)
    assert caching("main") == "no-cache"
    assert caching(COMMIT[:12]) == "no-cache"


def test_a_range_of_a_file(shapes: Shapes) -> None:
    answer = shapes.get("/org/tiny/resolve/main/onnx/model.onnx", Range="bytes=5-9")
    assert (answer.status, answer.body) == (206, BIG[5:10])
    assert lower(answer)["x-repo-commit"] == COMMIT


def test_an_empty_file(shapes: Shapes) -> None:
    answer = shapes.get("/org/tiny/resolve/main/empty.txt")
    assert (answer.status, answer.body) == (200, b"")


def test_a_repository_is_described(shapes: Shapes) -> None:
    for path in ("/api/models/org/tiny", f"/api/models/org/tiny/revision/{COMMIT}"):
        document = shapes.get(path).document
        assert (document["id"], document["sha"]) == ("org/tiny", COMMIT)
        assert [each["rfilename"] for each in document["siblings"]] == sorted(CONTENTS)
    document = shapes.get("/api/models/org/tiny/revision/main?blobs=true").document
    assert {each["rfilename"]: each["size"] for each in document["siblings"]}["onnx/model.onnx"] == len(BIG)


def test_its_tree_is_listed(shapes: Shapes) -> None:
    def paths(path: str) -> list[str]:
        return [each["path"] for each in shapes.get(f"/api/models/org/tiny/tree/{path}").document]

    assert paths("main") == ["onnx", "config.json", "empty.txt"]
    assert paths("main/onnx") == ["onnx/q4", "onnx/model.onnx"]
    assert set(paths("main?recursive=true&expand=false")) == {*CONTENTS, "onnx", "onnx/q4"}
    assert paths("main/onnx?recursive=1")[-1] == "onnx/q4/model.onnx"


def test_it_has_the_branch_main(shapes: Shapes) -> None:
    document = shapes.get("/api/models/org/tiny/refs").document
    assert [each["targetCommit"] for each in document["branches"]] == [COMMIT]


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_datasets_and_spaces_have_prefixes(own_shapes: Shapes, own_home: Home, kind: str) -> None:
    own_home.place(model("data", {"a.csv": b"1,2"}, "org/data", repo_type=kind), {"a.csv": b"1,2"})
    assert own_shapes.get(f"/{kind}s/org/data/resolve/main/a.csv").body == b"1,2"
    assert own_shapes.get(f"/api/{kind}s/org/data/revision/main").document["sha"] == COMMIT
    assert own_shapes.get("/org/data/resolve/main/a.csv").status == 404


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/org/other/resolve/main/config.json", "RepoNotFound"),
        ("/other/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/org/other/revision/main", "RepoNotFound"),
        ("/api/models/org/other/tree/main", "RepoNotFound"),
        ("/datasets/org/tiny/resolve/main/config.json", "RepoNotFound"),
        ("/org/tiny/resolve/v1.0/config.json", "RevisionNotFound"),
        (f"/org/tiny/resolve/{'f' * 40}/config.json", "RevisionNotFound"),
        ("/api/models/org/tiny/revision/refs%2Fpr%2F1", "RevisionNotFound"),
        ("/org/tiny/resolve/main/other.json", "EntryNotFound"),
        ("/org/tiny/resolve/main/onnx", "EntryNotFound"),
        ("/api/models/org/tiny/tree/main/other", "EntryNotFound"),
    ],
)
def test_an_error_is_that_of_the_hub(shapes: Shapes, path: str, code: str) -> None:
    answer = shapes.get(path)
    assert answer.status == 404
    assert lower(answer)["x-error-code"] == code
    assert lower(answer)["x-error-message"] == answer.document["error"]
    # With it clients would note for good that the repository has no such file.
    assert "x-repo-commit" not in lower(answer)


def test_a_file_that_is_pinned_but_not_here(own_shapes: Shapes, own_home: Home) -> None:
    own_home.pin(model("absent", {"weights.bin": b"x"}, "org/absent"))
    answer = own_shapes.get("/org/absent/resolve/main/weights.bin")
    assert (answer.status, lower(answer)["x-error-code"]) == (404, "EntryNotFound")
    assert lower(answer)["x-error-message"] == "This file is not in this cache"
    assert own_shapes.get("/api/models/org/absent/tree/main").document[0]["path"] == "weights.bin"


def test_a_model_that_was_added_is_served_at_once(own_shapes: Shapes, own_home: Home) -> None:
    assert own_shapes.get("/org/new/resolve/main/a").status == 404
    own_home.place(model("new", {"a": b"new"}, "org/new"), {"a": b"new"})

    def body() -> bytes:
        return own_shapes.get("/org/new/resolve/main/a").body

    until(lambda: body() == b"new", "the new model")


# Registry


def manifest_of(shapes: Shapes, name: str = "tiny", reference: str = "latest") -> Answer:
    return shapes.get(
        f"/v2/{name}/manifests/{reference}", Accept="application/vnd.oci.image.manifest.v1+json"
    )


def test_it_says_that_it_is_a_registry(shapes: Shapes) -> None:
    answer = shapes.get("/v2/")
    assert (answer.status, answer.document) == (200, {})
    assert lower(answer)["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("name", ["tiny", "models/tiny"])
@pytest.mark.parametrize("reference", ["latest", "v1", "digest"])
def test_a_manifest_is_that_of_a_bundle(shapes: Shapes, home: Home, name: str, reference: str) -> None:
    artifact, _ = artifact_of(home.load().manifests(["tiny"])[0])
    sha256 = digest(artifact.manifest)
    answer = manifest_of(shapes, name, f"sha256:{sha256}" if reference == "digest" else reference)
    assert answer.body == artifact.manifest
    headers = lower(answer)
    assert headers["docker-content-digest"] == f"sha256:{sha256}"
    assert headers["content-type"] == "application/vnd.oci.image.manifest.v1+json"
    assert headers["content-length"] == str(len(artifact.manifest))
    assert ("immutable" in headers["cache-control"]) == (reference == "digest")


def test_all_blobs_of_a_manifest_can_be_read(shapes: Shapes) -> None:
    document = manifest_of(shapes).document
    for each in [document["config"], *document["layers"]]:
        path = f"/v2/tiny/blobs/{each['digest']}"
        answer = shapes.get(path)
        assert f"sha256:{digest(answer.body)}" == each["digest"]
        assert len(answer.body) == each["size"]
        head = shapes.get(path, "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert lower(head)["content-length"] == str(each["size"])
        assert lower(head)["docker-content-digest"] == each["digest"]


def test_a_range_of_a_blob(shapes: Shapes) -> None:
    answer = shapes.get(f"/v2/tiny/blobs/sha256:{digest(BIG)}", Range="bytes=-5")
    assert (answer.status, answer.body) == (206, BIG[-5:])


def test_tags_of_a_repository(shapes: Shapes) -> None:
    assert shapes.get("/v2/tiny/tags/list").document == {"name": "tiny", "tags": ["latest", "v1"]}
    assert shapes.get("/v2/tiny/tags/list?n=1&last=latest").document["tags"] == ["v1"]
    assert shapes.get("/v2/tiny/tags/list?n=-1").status == 400


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/other/manifests/latest", "NAME_UNKNOWN"),
        ("/v2/other/blobs/sha256:" + "0" * 64, "NAME_UNKNOWN"),
        ("/v2/other/tags/list", "NAME_UNKNOWN"),
        ("/v2/tiny/manifests/v2", "MANIFEST_UNKNOWN"),
        ("/v2/tiny/manifests/sha256:" + "0" * 64, "MANIFEST_UNKNOWN"),
        ("/v2/tiny/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN"),
        ("/v2/tiny/blobs/latest", "BLOB_UNKNOWN"),
        ("/v2/_catalog", "NAME_UNKNOWN"),
        ("/v2/tiny/referrers/sha256:" + "0" * 64, "NAME_UNKNOWN"),
    ],
)
def test_an_error_is_that_of_the_specification(shapes: Shapes, path: str, code: str) -> None:
    answer = shapes.get(path)
    assert answer.status == 404
    assert [each["code"] for each in answer.document["errors"]] == [code]


def test_a_client_that_takes_no_oci_manifest_gets_none(shapes: Shapes) -> None:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    assert shapes.get("/v2/tiny/manifests/latest", Accept=kind).status == 404
    assert shapes.get("/v2/tiny/manifests/latest", Accept=f"{kind}, */*;q=0.1").status == 200
    assert shapes.get("/v2/tiny/manifests/latest").status == 200


def test_a_mirror_answers_for_its_registry_and_by_digest_only(shapes: Shapes) -> None:
    blob = f"sha256:{digest(CONFIG)}"
    manifest = lower(manifest_of(shapes))["docker-content-digest"]
    ours, other = "?ns=registry.example", "?ns=other.example"
    assert shapes.get(f"/v2/models/tiny/blobs/{blob}{ours}").body == CONFIG
    assert shapes.get(f"/v2/models/tiny/manifests/{manifest}{ours}").status == 200
    assert shapes.get(f"/v2/models/tiny/manifests/latest{ours}").status == 404
    assert shapes.get(f"/v2/models/tiny/tags/list{ours}").status == 404
    assert shapes.get(f"/v2/models/tiny/blobs/{blob}{other}").status == 404
    assert shapes.get(f"/v2/tiny/blobs/{blob}{ours}").status == 404


# Gateway


def leaves(body: bytes) -> bytes:
    return b"".join(block for cid, block in CarReader().feed(body) if cid.codec == RAW)


def test_a_file_as_car(shapes: Shapes) -> None:
    answer = shapes.get(f"/ipfs/{ROOT}?format=car&dag-scope=entity")
    assert answer.status == 200
    assert lower(answer)["content-type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    assert leaves(answer.body) == BIG
    by_type = shapes.get(f"/ipfs/{ROOT}", Accept="application/vnd.ipld.car;dups=y")
    assert leaves(by_type.body) == BIG


def test_a_range_as_car(shapes: Shapes) -> None:
    answer = shapes.get(f"/ipfs/{ROOT}?format=car&entity-bytes=-5:*")
    assert leaves(answer.body) == BIG[3 * MIB :]


def test_a_small_file_as_a_block(shapes: Shapes) -> None:
    cid = one_chunk_cid(digest(CONFIG)).text
    answer = shapes.get(f"/ipfs/{cid}?format=raw")
    headers = lower(answer)
    assert (answer.status, answer.body) == (200, CONFIG)
    assert headers["content-type"] == "application/vnd.ipld.raw"
    assert headers["content-length"] == str(len(CONFIG))
    head = shapes.get(f"/ipfs/{cid}?format=raw", "HEAD")
    assert (head.status, head.body, lower(head)["etag"]) == (200, b"", headers["etag"])
    assert shapes.get(f"/ipfs/{cid}?format=raw", If_None_Match=headers["etag"]).status == 304


def test_the_empty_block_says_that_it_is_a_gateway(shapes: Shapes) -> None:
    answer = shapes.get("/ipfs/bafkqaaa?format=raw")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (ROOT, 400),
        (f"{ROOT}?format=tar", 406),
        (f"{ROOT}?format=raw&x=1", 200),
        (f"{ROOT}/config.json?format=raw", 400),
        (f"{ROOT}?format=car&dag-scope=everything", 400),
        (f"{ROOT}?format=car&entity-bytes={len(BIG)}:*", 400),
        ("bafkreidon73zkcrwdb5iafqtijxildoonbwnpv7dyd6ef3qdgads2jc4su?format=raw", 404),
        ("bafkreidon73zkcrwdb5iafqtijxildoonbwnpv7dyd6ef3qdgads2jc4su?format=car", 404),
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPZ?format=raw", 400),
        ("?format=raw", 400),
    ],
)
def test_what_cannot_be_answered(shapes: Shapes, target: str, status: int) -> None:
    assert shapes.get(f"/ipfs/{target}").status == status


def test_whether_something_is_here(shapes: Shapes) -> None:
    missing = "bafkreidon73zkcrwdb5iafqtijxildoonbwnpv7dyd6ef3qdgads2jc4su"
    assert shapes.get(f"/ipfs/{missing}?format=raw", Cache_Control="only-if-cached").status == 412
    assert shapes.get(f"/ipfs/{ROOT}?format=raw", "HEAD", Cache_Control="only-if-cached").status == 200


def test_a_file_that_was_found_is_sent_though_its_change_time_changes_before(
    own_shapes: Shapes, own_home: Home
) -> None:
    """Another process links it into a model meanwhile, which changes no byte, and has no receipt yet."""
    own_home.pin(model())
    blob = own_home.blob(CONFIG)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONFIG)
    assert own_shapes.share_state is not None
    slots = own_shapes.share_state.limits.slots
    target = f"/ipfs/{one_chunk_cid(digest(CONFIG)).text}?format=raw"
    with ThreadPoolExecutor() as pool:
        with contextlib.ExitStack() as others:
            for number in range(slots.most):
                others.enter_context(slots.hold(f"192.0.2.{number}"))
            answer = pool.submit(own_shapes.get, target)
            until(lambda: slots._waiters, "the request to wait for a slot")
            blob.with_name("link").hardlink_to(blob)
        assert answer.result(IN_TIME).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        f"/blobs/sha256/{digest(CONFIG)}",
        "/org/tiny/resolve/main/onnx/model.onnx",
        f"/v2/tiny/blobs/sha256:{digest(CONFIG)}",
        f"/ipfs/{ROOT}?format=car",
        f"/ipfs/{one_chunk_cid(digest(CONFIG)).text}?format=raw",
    ],
)
def test_a_server_that_cannot_open_files_does_not_say_that_they_are_missing(
    own_home: Home, monkeypatch: pytest.MonkeyPatch, path: str, method: str
) -> None:
    """Clients would remember it: those of a gateway for a day."""
    own_home.place(model())
    real = os.open

    def busy(path: Any, *arguments: Any, **named: Any) -> int:
        if Path(os.fsdecode(path)).name in {digest(CONFIG), digest(BIG), f"{digest(BIG)}.car", "v1.json"}:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *arguments, **named)

    with Shapes(own_home) as shapes:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", busy)
            answer = shapes.get(path, method)
        assert answer.status == 500
        assert str(own_home.root).encode() not in answer.body
        assert shapes.get(path, method).status == 200


def test_what_is_sent_is_counted(own_shapes: Shapes, own_home: Home) -> None:
    own_home.place(model())
    own_shapes.get("/org/tiny/resolve/main/config.json")
    own_shapes.get(f"/v2/tiny/blobs/sha256:{digest(CONFIG)}")
    car = own_shapes.get(f"/ipfs/{ROOT}?format=car")
    assert own_shapes.share_state is not None
    share_state = own_shapes.share_state
    until(lambda: share_state.counters.snapshot()["active"] == 0, "the end of all responses")
    endpoints = share_state.counters.snapshot()["endpoints"]
    assert endpoints["huggingface"]["bytes"] == endpoints["registry"]["bytes"] == len(CONFIG)
    assert endpoints["ipfs"]["bytes"] == len(car.body)


def test_documents_are_ascii(own_shapes: Shapes, own_home: Home) -> None:
    contents = {"ä.txt": b"1"}
    own_home.place(model("odd", contents, "org/odd"), contents)
    body = own_shapes.get("/api/models/org/odd/tree/main?recursive=true").body
    assert body.isascii()
    assert json.loads(body)[0]["path"] == "ä.txt"


def test_some_files_are_described(shapes: Shapes) -> None:
    path = "/api/models/org/tiny/paths-info/main"
    form = shapes.ask(
        "POST",
        path,
        body=b"paths=onnx%2Fmodel.onnx&paths=none&paths=onnx&expand=false",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        token=None,
    )
    as_json = shapes.ask("POST", path, {"paths": ["onnx/model.onnx", "none", "onnx", 7]}, token=None)
    for answer in (form, as_json):
        assert [(each["type"], each["path"]) for each in answer.document] == [
            ("file", "onnx/model.onnx"),
            ("directory", "onnx"),
        ]
    assert shapes.get(path).status == 404
    for body in (b'{"paths": 7}', b"", b"paths"):
        assert shapes.ask("POST", path, body=body, token=None).document == []
    for body in (b"{", b"{" * 30_000, b"\xff"):
        assert shapes.ask("POST", path, body=body, token=None).status == 400
    for count, status in ((2000, 200), (2001, 400)):
        form_body, json_body = b"&".join([b"paths=a"] * count) + b"&expand=false", {"paths": ["a"] * count}
        assert shapes.ask("POST", path, body=form_body, token=None).status == status
        assert shapes.ask("POST", path, json_body, token=None).status == status
    assert shapes.ask("POST", path, body=b"paths=" + b"a" * 70_000, token=None).status == 413
    assert shapes.ask("POST", path.replace("tiny", "none"), body=b"paths=a", token=None).status == 404


def test_settings_that_are_wrong_show_no_path(own_home: Home, tmp_path: Path) -> None:
    own_home.place(model())
    own_home.catalog.rename(tmp_path / "elsewhere")
    with Shapes(own_home) as shapes:
        for path in (
            "/org/tiny/resolve/main/config.json",
            "/v2/tiny/manifests/latest",
            f"/ipfs/{ROOT}?format=raw",
        ):
            answer = shapes.get(path)
            assert answer.status == 500
            assert b"the settings of this server are wrong" in answer.body
            assert str(tmp_path).encode() not in answer.body
