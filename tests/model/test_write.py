"""Writing of manifests: reading what was written returns the same manifest, and the text never varies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfetch.catalog.builtin import BUILTIN
from modelfetch.model.manifest import (
    FileSpec,
    HuggingFaceRepo,
    Manifest,
    ModelScopeRepo,
    PinOrigin,
    SwarmTorrent,
)
from modelfetch.model.parse import load_manifest
from modelfetch.model.paths import clashes, why_unsafe
from modelfetch.model.text import visible
from modelfetch.model.write import manifest_toml

COMMIT = "1846881b6b3a3024392c1eea3ad983695bc23925"
CID = "bafkreigumf3fvylzkzthrsjqshc7u3zjqtbrxpuzbpy2uywzfrsnsg6d6y"

FULL = Manifest(
    name="whisper-base",
    version="1846881b6b3a",
    kind="worker",
    task="speech",
    format="onnx",
    title='Whisper "base"',
    license="Apache-2.0",
    homepage="https://huggingface.co/onnx-community/whisper-base",
    huggingface=HuggingFaceRepo("onnx-community/whisper-base", COMMIT, "dataset"),
    modelscope=ModelScopeRepo("onnx-community/whisper-base", "master"),
    oci="localhost:5000/models/whisper-base",
    ipfs_cid=CID,
    mirrors=("https://models.example.org/{path}",),
    swarm=SwarmTorrent("d" * 64, ("udp://t.example:6969",)),
    files=(
        FileSpec("run.sh", 5, "a" * 64, CID, "bin/run it.sh", ("https://example.org/a",), executable=True),
        FileSpec("a", 0, "b" * 64),
    ),
    upstream=PinOrigin(
        "hf:datasets/onnx-community/whisper-base@main", ("*",), ("x*",), "2026-11-28", "computed"
    ),
)

TEXT = f"""\
schema = 1
name = "whisper-base"
version = "1846881b6b3a"
kind = "worker"
task = "speech"
format = "onnx"
title = "Whisper \\"base\\""
license = "Apache-2.0"
homepage = "https://huggingface.co/onnx-community/whisper-base"

[huggingface]
repo = "onnx-community/whisper-base"
revision = "{COMMIT}"
type = "dataset"

[modelscope]
repo = "onnx-community/whisper-base"
revision = "master"

[oci]
repository = "localhost:5000/models/whisper-base"

[ipfs]
cid = "{CID}"

[mirrors]
urls = [
    "https://models.example.org/{{path}}",
]

[swarm]
infohash = "{"d" * 64}"
trackers = [
    "udp://t.example:6969",
]

[[files]]
path = "run.sh"
size = 5
sha256 = "{"a" * 64}"
cid = "{CID}"
huggingface_path = "bin/run it.sh"
urls = [
    "https://example.org/a",
]
executable = true

[[files]]
path = "a"
size = 0
sha256 = "{"b" * 64}"

[upstream]
ref = "hf:datasets/onnx-community/whisper-base@main"
include = [
    "*",
]
exclude = [
    "x*",
]
added = "2026-11-28"
stated = "computed"
"""


def read(text: str, name: str) -> Manifest:
    """Read a manifest from text."""
    return load_manifest(Path(f"{name}.toml"), text.encode())


def test_every_key_is_written_in_the_order_of_the_format() -> None:
    assert manifest_toml(FULL) == TEXT
    assert read(TEXT, "whisper-base") == FULL


def test_keys_with_their_default_are_left_out() -> None:
    text = manifest_toml(Manifest("m", "1", (FileSpec("a", 0, "b" * 64),)))
    assert text == (
        'schema = 1\nname = "m"\nversion = "1"\nkind = "model"\n\n'
        f'[[files]]\npath = "a"\nsize = 0\nsha256 = "{"b" * 64}"\n'
    )


@pytest.mark.quick(every=5)
@pytest.mark.parametrize("path", sorted(BUILTIN.glob("[a-z]*.toml")), ids=lambda path: path.stem)
def test_a_built_in_manifest_survives(path: Path) -> None:
    manifest = load_manifest(path)
    assert read(manifest_toml(manifest), manifest.name) == manifest


NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}x", fullmatch=True).filter(lambda text: text != "aux")
WORDS = st.text(max_size=40).filter(lambda text: text == visible(text))
DIGESTS = st.integers(0, 2**256 - 1).map("{:064x}".format)
URLS = st.lists(
    st.from_regex(r"https://[a-z]{1,9}\.example/[a-z0-9%_.?=&]{0,20}", fullmatch=True), max_size=2
)
REPOS = st.from_regex(r"[A-Za-z0-9_]{1,9}/[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)
BRANCHES = st.from_regex(r"[A-Za-z0-9_]{1,9}(/[A-Za-z0-9._-]{0,9}[a-z])?", fullmatch=True).filter(
    lambda text: ".." not in text
)
CIDS = st.none() | st.from_regex(r"bafy[a-z2-7]{10,55}", fullmatch=True)

FILES = st.builds(
    FileSpec,
    path=st.from_regex(r"[a-z0-9]{1,8}x(/[A-Za-z0-9_+-]{0,8}x){0,2}", fullmatch=True).filter(
        lambda path: not why_unsafe(path)
    ),
    size=st.integers(0, 2**63 - 1),
    sha256=DIGESTS,
    cid=CIDS,
    huggingface_path=st.none() | st.just("a b/c"),
    urls=URLS.map(tuple),
    executable=st.booleans(),
)
ORIGINS = st.builds(
    PinOrigin,
    ref=st.builds("hf:{}@{}".format, REPOS, BRANCHES),
    include=st.lists(WORDS, max_size=3).map(tuple),
    exclude=st.lists(WORDS, max_size=3).map(tuple),
    added=st.just("") | st.dates().map(str),
    stated=WORDS,
)
MANIFESTS = st.builds(
    Manifest,
    name=NAMES,
    version=NAMES,
    files=st.lists(FILES, min_size=1, max_size=4, unique_by=lambda file: file.sha256)
    .map(tuple)
    .filter(lambda files: not list(clashes([file.path for file in files]))),
    kind=st.sampled_from(("model", "worker", "dataset")),
    title=WORDS,
    license=WORDS,
    homepage=st.just("") | st.just("https://example.org/"),
    huggingface=st.none()
    | st.builds(HuggingFaceRepo, REPOS, st.just(COMMIT), st.sampled_from(("model", "dataset", "space"))),
    modelscope=st.none() | st.builds(ModelScopeRepo, REPOS, BRANCHES, st.sampled_from(("model", "dataset"))),
    oci=st.none()
    | st.from_regex(r"[a-z]{1,9}\.example(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,9}){1,3}", fullmatch=True),
    ipfs_cid=CIDS,
    mirrors=st.just(()) | st.just(("https://m.example/{path}", "https://n.example/{sha256}")),
    swarm=st.none() | st.builds(SwarmTorrent, DIGESTS, st.sampled_from(((), ("https://t.example/a",)))),
    task=st.sampled_from((None, "speech", "text", "embedding", "vision", "audio", "other")),
    format=st.sampled_from((None, "onnx", "gguf", "other")),
    upstream=st.none() | ORIGINS,
)


@pytest.mark.slow
@given(MANIFESTS)
@settings(max_examples=30)  # one example is a whole manifest, which takes 15 ms
def test_reading_what_was_written_returns_the_manifest(manifest: Manifest) -> None:
    text = manifest_toml(manifest)
    assert read(text, manifest.name) == manifest
    assert manifest_toml(read(text, manifest.name)) == text
