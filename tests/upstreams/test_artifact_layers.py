"""Layers of artifacts: which file each of them is, and which are refused."""

from __future__ import annotations

import pytest

from modelfetch.errors import UsageError
from modelfetch.model.registry_documents import Descriptor
from modelfetch.upstreams.artifact_layers import named_layers

FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"
CNCF, DOCKER, OLLAMA = (
    "application/vnd.cncf.model.",
    "application/vnd.docker.ai.",
    "application/vnd.ollama.image.",
)
TAR = "application/vnd.oci.image.layer.v1.tar"


def layer(kind: str, name: str = "", sha256: str = "", **annotations: str) -> Descriptor:
    return Descriptor(kind, sha256 or "0" * 64, 1, annotations, name=name)


def paths(*layers: Descriptor) -> list[str]:
    """Paths of layers with different bytes."""
    different = [
        Descriptor(each.media_type, f"{number:064x}", 1, each.annotations, name=each.name)
        for number, each in enumerate(layers)
    ]
    return [path for path, _ in named_layers(different, "llama-1b")]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([layer(f"{CNCF}weight.v1.raw", **{FILEPATH: "a/model.bin"})], ["a/model.bin"]),
        ([layer(f"{CNCF}weight.config.v1.raw", **{FILEPATH: "config.json", TITLE: "x"})], ["config.json"]),
        ([layer(f"{CNCF}doc.v1.raw", **{TITLE: "README.md"})], ["README.md"]),
        (
            [layer("application/vnd.cnai.model.weight.v1.raw", **{"org.cnai.model.filepath": "w"})],
            ["w"],
        ),
        ([layer(f"{DOCKER}gguf.v3"), layer(f"{DOCKER}license")], ["model.gguf", "LICENSE"]),
        (
            [layer(f"{DOCKER}gguf.v3"), layer(f"{DOCKER}mmproj"), layer(f"{DOCKER}gguf.v3")],
            ["model-00001-of-00002.gguf", "mmproj.gguf", "model-00002-of-00002.gguf"],
        ),
        ([layer(f"{DOCKER}safetensors"), layer(f"{DOCKER}dduf")], ["model.safetensors", "model.dduf"]),
        ([layer(f"{DOCKER}model.file", **{FILEPATH: "tokenizer.json"})], ["tokenizer.json"]),
        ([layer(f"{DOCKER}chat.template.jinja")], ["chat_template.jinja"]),
        ([layer(f"{OLLAMA}model"), layer(f"{OLLAMA}template")], ["llama-1b.gguf", "template.txt"]),
        ([layer(f"{OLLAMA}license")] * 3, ["LICENSE", "LICENSE.2", "LICENSE.3"]),
        ([layer(f"{OLLAMA}projector")] * 2, ["mmproj.gguf", "mmproj-2.gguf"]),
        (
            [
                layer(f"{OLLAMA}{kind}")
                for kind in ("adapter", "draft", "system", "prompt", "params", "messages")
            ],
            ["adapter.gguf", "draft.gguf", "system.txt", "prompt.txt", "params.json", "messages.json"],
        ),
        (
            [layer(f"{OLLAMA}tensor", "model.embed"), layer(f"{OLLAMA}json", "tokenizer.json")],
            ["model.embed", "tokenizer.json"],
        ),
        ([layer("text/plain", **{TITLE: "notes.txt"})], ["notes.txt"]),
        ([layer(TAR, **{TITLE: "model.gguf"})], ["model.gguf"]),
        ([layer("application/gzip", **{TITLE: "weights.tar.gz"})], ["weights.tar.gz"]),
        ([layer(f"{TAR}+gzip", **{TITLE: "weights.tgz"})], ["weights.tgz"]),
    ],
)
def test_the_names_of_layers(layers: list[Descriptor], expected: list[str]) -> None:
    assert paths(*layers) == expected


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (layer(f"{CNCF}weight.v1.tar", **{FILEPATH: "weights", TITLE: "weights"}), "'weights' is an archive"),
        (layer(f"{CNCF}weight.v1.tar+gzip", **{FILEPATH: "w"}), "'w' is an archive"),
        (layer(f"{CNCF}weight.v1.tar+zstd", **{FILEPATH: "w"}), "'w' is an archive"),
        (layer(f"{CNCF}dataset.v1.new+form", **{FILEPATH: "w"}), "'w' is an archive"),
        (layer(f"{DOCKER}dir.tar", **{FILEPATH: "d"}), "'d' is an archive"),
        (layer(f"{DOCKER}vllm.config.tar"), "vllm.config.tar"),
        (layer("application/vnd.kitops.modelkit.model.v1.tar+gzip", **{TITLE: "m"}), "'m' is an archive"),
        (layer(f"{TAR}+gzip", **{TITLE: "d", "io.deis.oras.content.unpack": "true"}), "'d' is an archive"),
        (layer(f"{TAR}+gzip", **{TITLE: "directory"}), "'directory' is an archive"),
        (layer(f"{TAR}+gzip"), "tar+gzip"),
        (layer("application/vnd.docker.image.rootfs.diff.tar.gzip"), "tar.gzip"),
    ],
)
def test_archives_are_refused_by_name(found: Descriptor, shown: str) -> None:
    with pytest.raises(UsageError, match="is an archive") as caught:
        paths(found)
    assert shown in caught.value.message
    assert "Unpack it" in caught.value.hint


@pytest.mark.parametrize("kind", ["text/plain", f"{OLLAMA}new", f"{DOCKER}new", f"{CNCF}weight.v1.raw"])
def test_a_layer_without_a_name_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="has no file name"):
        paths(layer(kind))


def test_a_path_twice_with_the_same_digest_is_one_file() -> None:
    twice = [layer(f"{CNCF}weight.v1.raw", **{FILEPATH: "a"})] * 2
    assert [path for path, _ in named_layers(twice, "m")] == ["a"]


def test_a_path_twice_with_other_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match="two layers of the artifact have the path 'a'"):
        paths(*[layer(f"{CNCF}weight.v1.raw", **{FILEPATH: "a"})] * 2)


def test_a_hostile_name_cannot_hide_in_a_message() -> None:
    with pytest.raises(UsageError) as caught:
        paths(layer(f"{CNCF}weight.v1.tar\x1b[2J", **{FILEPATH: "a\x1b[2J\nb"}))
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
