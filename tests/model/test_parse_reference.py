"""References: what people type and paste, with what comes of each; wrong ones with their message."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.errors import UsageError
from modelfetch.ipfs.cid import DAG_PB, RAW, SHA2_256, Cid
from modelfetch.model.parse_reference import parse_reference
from modelfetch.model.paths import is_reference, why_bad_name
from modelfetch.model.reference import (
    DiskReference,
    GithubReference,
    IpfsReference,
    OciReference,
    OllamaReference,
    Reference,
    RepoReference,
    UrlReference,
)

DATA = Path(__file__).parents[1] / "data"
SHA = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
V0_CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPgBt"


def is_here(path: str) -> bool:
    """A disk on which everything exists whose name begins with ``here``."""
    return path.startswith("here")


def parse(text: str) -> Reference:
    return parse_reference(text, exists=is_here)


def rows(name: str) -> list[tuple[str, str, str]]:
    """The rows of a table in ``tests/data``: three columns, separated by tabs; the last ones may be empty."""
    lines = (DATA / name).read_text("utf-8").splitlines()
    padded = ((*line.split("\t"), "", "") for line in lines)
    return [(first, second, third) for first, second, third, *_ in padded]


GOOD = rows("references-good.tsv")
"""What people type or paste, its canonical form, and the tail of a page."""
WRONG = rows("references-wrong.tsv")
"""What people type or paste, the message, and the hint."""


def test_the_tables_are_long() -> None:
    assert len(GOOD) >= 60
    assert len(WRONG) >= 45


# One test for a table: a test for each row would take longer to administer than to run.


def read_row(text: str) -> tuple[str, ...]:
    """The row of a table that the parser gives for a text."""
    try:
        found = parse(text)
    except UsageError as error:
        return text, error.message, error.hint
    return text, found.text, getattr(found, "tail", "")


def test_good_references() -> None:
    assert [read_row(text) for text, _, _ in GOOD] == [tuple(row) for row in GOOD]


def test_wrong_references() -> None:
    assert [read_row(text) for text, _, _ in WRONG] == [tuple(row) for row in WRONG]


def test_a_canonical_form_is_its_own() -> None:
    """Whatever lies on the disk: so a pin is found by the text of its reference."""
    texts = sorted({row[1] for row in GOOD})
    for exists in (lambda _: False, lambda _: True):
        assert [parse_reference(text, exists=exists).text for text in texts] == texts


def test_suggestions_are_references() -> None:
    suggestions = [text for row in WRONG for text in re.findall("Did you mean '(.+?)'", row[2])]
    assert all(parse(suggestion).text for suggestion in suggestions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/repo", RepoReference("hf", "org/repo")),
        ("hf:datasets/org/repo@v1", RepoReference("hf", "org/repo", "v1", "dataset")),
        ("https://hf.co/org/repo/blob/a/b/c.bin", RepoReference("hf", "org/repo", "a", "model", "b/c.bin")),
        ("ms:org/repo@master", RepoReference("ms", "org/repo", "master")),
        ("gh:o/r", GithubReference("o/r")),
        ("gh:o/r@v1:*.bin", GithubReference("o/r", "v1", "*.bin")),
        ("oci:ai/smollm2", OciReference("docker.io", "ai/smollm2", "latest")),
        (f"oci:ghcr.io/o/r:1@sha256:{SHA}", OciReference("ghcr.io", "o/r", None, f"sha256:{SHA}")),
        ("ollama:llama3.2", OllamaReference("registry.ollama.ai", "library", "llama3.2", "latest")),
        ("ollama:hf.co/o/r:Q8_0", OllamaReference("hf.co", "o", "r", "Q8_0")),
        (f"ipfs:{V0_CID}/a/b", IpfsReference(V0_CID, "a/b")),
        ("https://example.com/x?y=z#top", UrlReference("https://example.com/x?y=z")),
        ("here/x", DiskReference("./here/x")),
    ],
)
def test_values(text: str, expected: Reference) -> None:
    assert parse(text) == expected


def test_what_exists_is_on_this_disk() -> None:
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        return True

    assert parse_reference("org/repo", exists=exists) == DiskReference("./org/repo")
    assert parse_reference("hf:org/repo", exists=exists) == RepoReference("hf", "org/repo")
    assert parse_reference("hf.co/org/repo", exists=exists) == RepoReference("hf", "org/repo")
    assert parse_reference("/srv/x", exists=exists) == DiskReference("/srv/x")
    assert asked == ["org/repo"]


# Endpoints


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/org/repo/tree/v1"),
        ("http://127.0.0.1:8000/", "127.0.0.1:8000/org/repo/tree/v1"),
        ("https://hub.example.org/api/hf", "https://hub.example.org/api/hf/org/repo/tree/v1"),
        ("https://hub.example.org", "https://HUB.example.org:443/org/repo/tree/v1"),
        ("https://hf-mirror.com", "https://hf-mirror.com/org/repo/tree/v1"),
        ("https://hub.example.org", "https://huggingface.co/org/repo/tree/v1"),
    ],
)
def test_pages_of_the_configured_hub(endpoint: str, text: str) -> None:
    assert parse_reference(text, hf_endpoint=endpoint) == RepoReference("hf", "org/repo", "v1")


def test_pages_of_the_configured_modelscope() -> None:
    page = "http://localhost:9000/models/org/repo/files"
    assert parse_reference(page, ms_endpoint="http://localhost:9000") == RepoReference("ms", "org/repo")


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8001/org/repo",
        "http://localhost:8000/org/repo",
        "http://127.0.0.1:8000/other/org/repo",
    ],
)
def test_another_port_or_path_is_another_server(text: str) -> None:
    found = parse_reference(text, hf_endpoint="http://127.0.0.1:8000/hub")
    assert found == UrlReference(text)


# Hostile text


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\n", "\x7f", "\u200b", "\u202e", "\ud800"])
def test_invisible_characters_are_refused(character: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"hf:org{character}/repo")
    assert caught.value.message == f"the reference contains the invisible character U+{ord(character):04X}"


def test_a_long_text_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        parse("hf:org/" + "x" * 9000)
    assert caught.value.message == "the reference has more than 8192 characters"


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret@example.com/x",
        "https://user:secret@huggingface.co/org/repo",
        "https://example.com/x?X-Amz-Signature=secret",
        "https://example.com/x?Policy=a&Signature=secret",
        "http://example.com/x?token=secret",
        "https://huggingface.co/org/repo/settings?token=secret",
        "huggingface.co/org/repo/settings?token=secret",
        "http://127.0.0.1:8765/#token=secret",
        "s3://user:secret@bucket/key",
        "user:secret@huggingface.co/org/repo",
        "oci:user:secret@registry.example/x",
        "ms:user:secret@host/x",
        "gh:user:secret@host/x",
        "hf://user:secret@org/repo",
        "https:/user:secret@host/x",
        "hf:org/repo?token=secret",
        "https://example.com/x?private_token=secret",
        "https://example.com/x?api-key=secret",
        "https://example.com/x?client_secret=secret",
    ],
)
def test_no_message_has_a_secret(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.slow
@given(st.text(max_size=60) | st.from_regex(r"(hf|ms|gh|oci|ollama|ipfs|https):[a-z:@/.%?#\[\]-]{0,40}"))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        found = parse_reference(text, exists=lambda _: False)
    except UsageError as error:
        lines = f"{error.message} {error.hint}".splitlines()
    else:
        lines = [found.text]
        again = parse_reference(found.text, exists=lambda _: False)
        assert again == (replace(found, tail="") if isinstance(found, RepoReference) else found)
    assert len(lines) == 1


# Canonical text

PART = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9]|[._-][A-Za-z0-9]){0,10}", fullmatch=True)
LOWER = st.from_regex(r"[a-z0-9]([._-]?[a-z0-9]){0,10}", fullmatch=True)
REVISION = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9]|[/._@+#-][A-Za-z0-9]){0,12}", fullmatch=True).filter(
    lambda text: ".lock" not in text
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
TYPES = {"model", "models", "dataset", "datasets", "space", "spaces", "kernels", "buckets", "studios"}
OWNER = PART.filter(lambda name: name not in TYPES)
REPO = st.builds("{}/{}".format, OWNER, PART).filter(lambda repo: not repo.endswith(".git"))
IMAGE = st.builds("{}/{}".format, LOWER, LOWER)
HOST = st.sampled_from(["ghcr.io", "localhost:5000", "registry.example.org:443", "docker.io", "[::1]:5000"])


def cid_text(codec: int, digest: bytes) -> str:
    return Cid(1, codec, SHA2_256, digest).text


REFERENCES: st.SearchStrategy[Reference] = st.one_of(
    st.builds(
        RepoReference,
        st.just("hf"),
        REPO,
        st.none() | REVISION,
        st.sampled_from(["model", "dataset", "space"]),
    ),
    st.builds(
        RepoReference,
        st.just("ms"),
        REPO,
        st.none() | REVISION,
        st.sampled_from(["model", "dataset"]),
    ),
    st.builds(
        GithubReference,
        st.builds("o/{}".format, PART).filter(lambda repo: not repo.endswith(".git")),
        st.none() | REVISION,
        st.just("") | st.from_regex(r"[A-Za-z0-9*?\[\]:@.-]{1,12}", fullmatch=True),
    ),
    st.builds(OciReference, HOST, IMAGE, TAG),
    st.builds(OciReference, HOST, IMAGE, st.none(), st.just(f"sha256:{SHA}")),
    st.builds(
        OllamaReference,
        st.sampled_from(["registry.ollama.ai", "hf.co", "localhost:11434"]),
        st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True).filter(lambda name: name[0] != "-"),
        TAG,
        TAG,
    ),
    st.builds(
        IpfsReference,
        st.builds(cid_text, st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32)),
        st.just("") | st.builds("{}/{}".format, PART, PART),
    ),
    st.builds(UrlReference, st.builds("https://example.org/{}?v={}".format, PART, PART)),
    st.builds(DiskReference, st.builds("./{}".format, PART) | st.builds("/{}".format, PART)),
)


@pytest.mark.slow
@given(REFERENCES)
def test_canonical_text_parses_back_to_an_equal_value(reference: Reference) -> None:
    assert parse_reference(reference.text, exists=lambda _: False) == reference


# Names


@given(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: not why_bad_name(name))
)
def test_a_name_never_looks_like_a_reference(name: str) -> None:
    assert why_bad_name(name) or not is_reference(name)


@pytest.mark.parametrize("text", ["hf:org/repo", "org/repo", "./x", "https://x/y", "llama3.2:1b", "C:\\x"])
def test_references_look_like_references(text: str) -> None:
    assert is_reference(text)


# The same as the library of Hugging Face


@pytest.mark.quick(5)
@pytest.mark.parametrize("row", [row for row in GOOD if "huggingface.co/" in row[0] or "hf://" in row[0]])
def test_the_library_of_hugging_face_reads_the_same(row: tuple[str, str, str]) -> None:
    hub = pytest.importorskip("huggingface_hub.utils")
    text, canonical, tail = row
    if not hasattr(hub, "parse_hf_uri") or "gpt2" in text or "www." in text:
        pytest.skip("an older version, or a form that it does not read")
    found = hub.parse_hf_uri(text)
    own = parse(canonical)
    assert isinstance(own, RepoReference)
    assert (found.type, found.id, found.path_in_repo) == (own.type, own.repo, tail)
    assert found.revision == own.revision or (found.revision is None and own.revision == "main")
