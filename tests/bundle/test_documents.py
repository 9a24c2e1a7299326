"""The documents of a bundle: to the byte as ModelPack readers accept them, and the same every time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from modelfetch.bundle.documents import Layer, artifact, artifact_of, digest, index, kind_of
from modelfetch.bundle.tar_format import END, header, padded, padding
from modelfetch.bundle.verifier import BLOBS, DOCUMENT_LIMIT
from modelfetch.model.manifest import HuggingFaceRepo
from modelfetch.model.parse import BYTES_LIMIT
from modelfetch.model.registry_documents import Document
from tests.bundle.material import CONTENTS, manifest_of

CONTENT = b"{}"


def test_a_bundle_of_one_file_has_exactly_the_bytes_that_other_tools_accepted() -> None:
    """Taken by skopeo copy, docker-registry, oras-py and modelpack-client."""
    layer = Layer("config.json", len(CONTENT), digest(CONTENT), "weight.config", {})
    made = artifact("tiny:1", [layer], {}, {})
    listing = index([made])
    blobs = sorted((digest(data), data) for data in (made.config, made.manifest, CONTENT))
    members = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", listing)]
    members += [(BLOBS + sha256, data) for sha256, data in blobs]
    parts = (header(name, len(data)) + data + padding(len(data)) for name, data in members)
    tar = b"".join(parts) + END
    assert [(len(data), digest(data)) for data in (made.config, made.manifest, listing, tar)] == [
        (143, "fb6c2869cede12c46cb8326be3f299856b19adb44156e2d4d367633ad60169d8"),
        (568, "0f46014271f046a713d79db508ee64f23397d552abcc726867b15985d66e24f6"),
        (362, "e4e3c19468c34bf96a3ca78b69a59b4509eb95a8c972297be2c30e7048a6e0fe"),
        (6656, "11ff09a1b6ba75b1406f71b0a3e5bdb34a62a760a828c98cd47bae9001502126"),
    ]
    assert len(tar) == sum(padded(len(data)) for _, data in members) + 1024


def test_the_config_says_what_the_manifest_says_and_no_time() -> None:
    repo = HuggingFaceRepo("org/tiny", "a" * 40)
    manifest = replace(
        manifest_of(CONTENTS), title="Tiny", license="MIT", format="onnx", homepage="https://h.example"
    )
    made, _ = artifact_of(replace(manifest, huggingface=repo))
    config = json.loads(made.config)
    assert config["descriptor"] == {
        "name": "tiny",
        "version": "1",
        "title": "Tiny",
        "licenses": ["MIT"],
        "sourceURL": "https://h.example",
        "revision": "a" * 40,
    }
    assert config["config"] == {"format": "onnx"}
    layers = json.loads(made.manifest)["layers"]
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in layers]


@pytest.mark.slow  # 20,000 files
def test_the_largest_allowed_model_has_documents_that_are_read() -> None:
    contents = {f"{'directory/' * 8}{number:05}.bin": b"%d" % number for number in range(20_000)}
    made, toml = artifact_of(manifest_of(contents))
    assert len(toml) < BYTES_LIMIT
    assert len(made.manifest) + len(toml) < DOCUMENT_LIMIT
    document = Document("", "", json.loads(made.manifest))
    assert len(document.descriptors("layers")) == 20_001


def test_formats_that_modelpack_does_not_name_are_left_out() -> None:
    made, _ = artifact_of(replace(manifest_of(CONTENTS), format="ggml"))
    assert json.loads(made.config)["config"] == {}


def test_the_order_of_files_does_not_matter() -> None:
    reverse = dict(reversed(list(CONTENTS.items())))
    manifests = [json.loads(artifact_of(manifest_of(each))[0].manifest) for each in (CONTENTS, reverse)]
    one, other = ([layer["digest"] for layer in manifest["layers"][:-1]] for manifest in manifests)
    assert one == other


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model.safetensors", "weight"),
        ("onnx/model.onnx", "weight"),
        ("unknown", "weight"),
        ("config.json", "weight.config"),
        ("tokenizer.model", "weight.config"),
        ("merges.txt", "weight.config"),
        ("LICENSE", "doc"),
        ("README.md", "doc"),
        ("modeling_x.py", "code"),
    ],
)
def test_the_kind_of_a_layer_follows_from_the_name_of_the_file(path: str, kind: str) -> None:
    assert kind_of(path) == kind
    assert kind_of(path, "dataset") == "dataset"
