"""The documents of the Hugging Face API: what the Hub would state about the same files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelfetch.model.manifest import FileSpec
from modelfetch.share import hub_documents
from modelfetch.share.model_index import HubRepo, ModelIndex, PinnedFile, Snapshot
from tests.share.home import COMMIT, digest, model
from tests.store.material import WHEN

PATHS = ("README.md", "a/b/c.bin", "a/b/d.bin", "a/e.bin", "f/g.bin")


def repo(**more: Any) -> tuple[HubRepo, Snapshot]:
    pinned = model("m", {path: path.encode() for path in PATHS}, **more)
    found = ModelIndex([pinned], lambda _: WHEN).hub_repo("model", "org/tiny")
    assert found is not None
    snapshot = found.resolve("main")
    assert snapshot is not None
    return found, snapshot


def files(**more: Any) -> Mapping[str, PinnedFile]:
    return repo(**more)[1].listing(absent=False)


def names(folder: str = "", *, recursive: bool = False) -> list[str] | None:
    found = hub_documents.tree(files(), folder, recursive=recursive)
    return None if found is None else [each["path"] + "/" * (each["type"] == "directory") for each in found]


def test_info_names_the_commit_and_the_files() -> None:
    found, snapshot = repo(license="Apache-2.0")
    document = hub_documents.info(found, snapshot, files(), blobs=False)
    assert (document["id"], document["sha"], document["gated"]) == ("org/tiny", COMMIT, False)
    assert document["siblings"] == [{"rfilename": path} for path in PATHS]
    assert document["cardData"] == {"license": "apache-2.0"}


def test_info_with_blobs_states_sizes_and_digests() -> None:
    found, snapshot = repo()
    document = hub_documents.info(found, snapshot, files(), blobs=True)
    first = document["siblings"][0]
    assert first["size"] == len("README.md")
    assert first["lfs"]["sha256"] == digest(b"README.md")
    assert "cardData" not in document


def test_the_git_blob_is_that_of_the_pointer() -> None:
    # pytorch_model.bin of gpt2, as huggingface_hub documents it.
    file = FileSpec(
        "pytorch_model.bin", 548123560, "9be78edb5b928eba33aa88f431551348f7466ba9f5ef3daf1d552398722a5436"
    )
    [entry] = hub_documents.tree({file.path: PinnedFile(model(), file)}) or []
    assert entry["oid"] == "64eaa9c526867e404b68f2c5d66fd78e27026523"
    assert entry["lfs"] == {"oid": file.sha256, "size": file.size, "pointerSize": 134}


def test_a_tree_lists_one_folder() -> None:
    assert names() == ["a/", "f/", "README.md"]
    assert names("a") == ["a/b/", "a/e.bin"]
    assert names("a/b") == ["a/b/c.bin", "a/b/d.bin"]


def test_a_recursive_tree_lists_all_folders() -> None:
    assert names(recursive=True) == ["a/", "a/b/", "f/", *PATHS]
    assert names("a", recursive=True) == ["a/b/", "a/b/c.bin", "a/b/d.bin", "a/e.bin"]


def test_an_unknown_folder_is_none() -> None:
    for folder in ("x", "a/b/c", "a/b/c.bin", "A", "a/", "../a"):
        assert names(folder) is None


def test_paths_info_leaves_out_what_is_unknown() -> None:
    found = hub_documents.paths_info(files(), ["a/e.bin", "a/b", "a/x", "../etc/passwd", "a/e.bin"])
    assert [(each["type"], each["path"]) for each in found] == [("file", "a/e.bin"), ("directory", "a/b")]


def test_no_document_sends_clients_elsewhere() -> None:
    found, snapshot = repo()
    text = str(hub_documents.info(found, snapshot, files(), blobs=True)) + str(hub_documents.tree(files()))
    assert "xet" not in text.lower()
    assert "http" not in text


def test_headers_of_a_file_have_no_characters_of_its_name() -> None:
    _, snapshot = repo()
    headers = hub_documents.file_headers(snapshot, 'a/"ä\r\nX: y', FileSpec("a", 1, digest(b"a")))
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%22%C3%A4%0D%0AX%3A%20y"
    assert headers["x-repo-commit"] == COMMIT
