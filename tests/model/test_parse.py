"""Manifests as TOML: what is accepted, what is refused, and that every fault is reported at once."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfetch.errors import ManifestError
from modelfetch.model.manifest import (
    FileSpec,
    HuggingFaceRepo,
    Manifest,
    ModelScopeRepo,
    PinOrigin,
    SwarmTorrent,
)
from modelfetch.model.parse import load_manifest
from modelfetch.model.text import sanitize
from tests.patience import IN_TIME

DIGEST = "a9f3b752833b49e880dec91ee5b6d936112be7c3ea07c221024ba493439f46fe"
COMMIT = "1846881b6b3a3024392c1eea3ad983695bc23925"
CID = "bafkreigumf3fvylzkzthrsjqshc7u3zjqtbrxpuzbpy2uywzfrsnsg6d6y"

FULL = f"""
schema   = 1
name     = "whisper-base"
version  = "1846881b6b3a"
kind     = "worker"
task     = "speech"
format   = "onnx"
title    = "Whisper base (ONNX)"
license  = "Apache-2.0"
homepage = "https://huggingface.co/onnx-community/whisper-base"

[huggingface]
repo     = "onnx-community/whisper-base"
revision = "{COMMIT}"
type     = "dataset"

[modelscope]
repo     = "onnx-community/whisper-base"
revision = "release/v1.0"
type     = "dataset"

[oci]
repository = "localhost:5000/models/whisper-base"

[ipfs]
cid = "{CID}"

[mirrors]
urls = ["https://models.example.org/{{name}}/{{version}}/{{path}}", "http://10.0.0.1:8080/{{sha256}}"]

[swarm]
infohash = "{"d" * 64}"
trackers = ["udp://t.example:6969/announce", "https://t.example/announce"]

[[files]]
path   = "onnx/encoder_model.onnx"
size   = 82468078
sha256 = "{DIGEST}"
cid    = "{CID}"
huggingface_path = "onnx (1)/encoder model.onnx"
urls   = ["https://example.org/a?b=c"]

[[files]]
path   = "empty.json"
size   = 0
sha256 = "{"e" * 64}"
executable = true

[upstream]
ref     = "hf:datasets/onnx-community/whisper-base@main"
include = ["onnx/*"]
exclude = ["*.md"]
added   = "2026-11-28"
stated  = "huggingface"
"""


def document(**changes: Any) -> dict[str, Any]:
    """A small valid manifest as data, with some keys changed; None drops a key."""
    data: dict[str, Any] = {"schema": 1, "name": "m", "version": "1", "files": [file()]} | changes
    return {key: value for key, value in data.items() if value is not None}


def file(**changes: Any) -> dict[str, Any]:
    """One valid file as data, with some keys changed; None drops a key."""
    data: dict[str, Any] = {"path": "a.bin", "size": 1, "sha256": DIGEST} | changes
    return {key: value for key, value in data.items() if value is not None}


def parsed(text: str, name: str = "m") -> Manifest:
    """Read a manifest from text, as if it were the content of ``<name>.toml``."""
    return load_manifest(Path(f"{name}.toml"), text.encode("utf-8", "surrogatepass"))


def faults(source: dict[str, Any] | str) -> list[str]:
    """Every fault of a manifest that must be refused."""
    text = source if isinstance(source, str) else tomli_w.dumps(source)
    with pytest.raises(ManifestError) as caught:
        parsed(text)
    assert all(fault == sanitize(fault) for fault in caught.value.faults)
    return list(caught.value.faults)


def test_every_key_of_the_format_is_read() -> None:
    assert parsed(FULL, "whisper-base") == Manifest(
        name="whisper-base",
        version="1846881b6b3a",
        kind="worker",
        title="Whisper base (ONNX)",
        license="Apache-2.0",
        homepage="https://huggingface.co/onnx-community/whisper-base",
        huggingface=HuggingFaceRepo("onnx-community/whisper-base", COMMIT, "dataset"),
        modelscope=ModelScopeRepo("onnx-community/whisper-base", "release/v1.0", "dataset"),
        oci="localhost:5000/models/whisper-base",
        ipfs_cid=CID,
        task="speech",
        format="onnx",
        upstream=PinOrigin(
            ref="hf:datasets/onnx-community/whisper-base@main",
            include=("onnx/*",),
            exclude=("*.md",),
            added="2026-11-28",
            stated="huggingface",
        ),
        mirrors=("https://models.example.org/{name}/{version}/{path}", "http://10.0.0.1:8080/{sha256}"),
        swarm=SwarmTorrent("d" * 64, ("udp://t.example:6969/announce", "https://t.example/announce")),
        files=(
            FileSpec(
                path="onnx/encoder_model.onnx",
                size=82468078,
                sha256=DIGEST,
                cid=CID,
                huggingface_path="onnx (1)/encoder model.onnx",
                urls=("https://example.org/a?b=c",),
            ),
            FileSpec(path="empty.json", size=0, sha256="e" * 64, executable=True),
        ),
    )


def test_optional_keys_have_defaults() -> None:
    assert parsed(tomli_w.dumps(document())) == Manifest("m", "1", (FileSpec("a.bin", 1, DIGEST),))


def test_windows_line_ends_are_toml_too() -> None:
    assert parsed(FULL.replace("\n", "\r\n"), "whisper-base") == parsed(FULL, "whisper-base")


def test_all_faults_are_reported_at_once_with_their_keys() -> None:
    source = document(
        name="M",
        version=None,
        licence="MIT",
        huggingface={"repo": "a/b/c", "revision": "main", "token": "x"},
        files=[
            file(),
            file(path="a.bin", size=True, sha256="x", sise=1),
            file(path="../x", urls=["ftp://x", 1]),
        ],
    )
    assert faults(source) == [
        "licence: unknown key. Did you mean 'license'?",
        "name: 'M' must be 1 to 128 of a-z 0-9 . _ - and start with a letter or a digit",
        "version: missing",
        "huggingface.token: unknown key.",
        "huggingface.repo: 'a/b/c' must be owner/name, as on Hugging Face",
        "huggingface.revision: 'main' must be a full commit: 40 of 0-9 a-f",
        "files[1].sise: unknown key. Did you mean 'size'?",
        "files[1].size: must be an integer, not a boolean",
        "files[1].sha256: 'x' must be 64 of 0-9 a-f",
        "files[2].path: '../x' must be relative, without empty, '.' or '..' parts",
        "files[2].urls[0]: must start with https:// or http://",
        "files[2].urls[1]: must be a string, not an integer",
        "files[1].path: 'a.bin' is listed twice",
    ]


def test_the_error_names_the_file_and_counts_the_rest() -> None:
    with pytest.raises(ManifestError, match=r"^m\.toml: name: missing \(and 1 more\)$"):
        parsed(tomli_w.dumps(document(name=None, version=None)))


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"schema": None}, "schema: missing"),
        ({"schema": 0}, "schema: must be 1"),
        ({"schema": True}, "schema: must be 1"),
        ({"schema": 1.0}, "schema: must be 1"),
        ({"schema": "1"}, "schema: must be 1"),
        ({"name": 1}, "name: must be a string, not an integer"),
        ({"name": "con"}, "name: 'con' has a part that"),
        ({"version": "v1.json"}, "version: 'v1.json' must not end in .json"),
        ({"kind": "modle"}, "kind: 'modle' must be one of model, worker, dataset. Did you mean 'model'?"),
        ({"title": "a\x1b[31mb"}, "title: 'a[31mb' contains control"),
        ({"title": "a\u202eb"}, "title: 'ab' contains control"),
        ({"title": "x" * 1001}, "title: "),
        ({"license": ["MIT"]}, "license: must be a string, not an array"),
        ({"license": "a\nb"}, "license: 'a b' contains control"),
        ({"homepage": "javascript:alert(1)"}, "homepage: 'javascript:alert(1)' must start with https://"),
        ({"huggingface": "onnx-community/whisper-base"}, "huggingface: must be a table, not a string"),
        ({"huggingface": {}}, "huggingface.repo: missing"),
        ({"huggingface": {"repo": "a/b", "revision": COMMIT.upper()}}, "huggingface.revision: "),
        (
            {"huggingface": {"repo": "a/..", "revision": COMMIT}},
            "huggingface.repo: 'a/..' must be owner/name",
        ),
        (
            {"huggingface": {"repo": "a/b", "revision": COMMIT, "type": "x"}},
            "huggingface.type: 'x' must be one of",
        ),
        ({"task": "demo"}, "task: 'demo' must be one of speech, text, embedding, vision, audio, other."),
        ({"format": "safetensor"}, "format: 'safetensor' must be one of onnx, gguf, ggml, safetensors,"),
        ({"modelscope": {}}, "modelscope.repo: missing"),
        (
            {"modelscope": {"repo": "gpt2", "revision": "master"}},
            "modelscope.repo: 'gpt2' must be owner/name, as on ModelScope",
        ),
        ({"modelscope": {"repo": "a/b", "revision": "a/../b"}}, "modelscope.revision: 'a/../b' must be a"),
        ({"modelscope": {"repo": "a/b", "revision": "-x"}}, "modelscope.revision: '-x' must be a commit"),
        ({"modelscope": {"repo": "a/b", "revision": "x" * 256}}, "modelscope.revision: "),
        (
            {"modelscope": {"repo": "a/b", "revision": "v1", "type": "space"}},
            "modelscope.type: 'space' must be one of model, dataset.",
        ),
        ({"oci": {}}, "oci.repository: missing"),
        ({"oci": {"repo": "x"}}, "oci.repo: unknown key."),
        ({"ipfs": {}}, "ipfs.cid: missing"),
        ({"upstream": {}}, "upstream.ref: missing"),
        ({"upstream": {"ref": "hf:a/b", "reff": "x"}}, "upstream.reff: unknown key. Did you mean 'ref'?"),
        ({"upstream": {"ref": "hf:a/b", "include": "*"}}, "upstream.include: must be an array"),
        ({"upstream": {"ref": "hf:a/b", "exclude": ["a\nb"]}}, "upstream.exclude[0]: 'a b' contains"),
        (
            {"upstream": {"ref": "hf:a/b", "include": ["*"] * 101}},
            "upstream.include: must have at most 100 entries, not 101",
        ),
        (
            {"upstream": {"ref": "hf:a/b", "added": "2026-13-01"}},
            "upstream.added: '2026-13-01' must be a date",
        ),
        ({"upstream": {"ref": "hf:a/b", "stated": "a\x1bb"}}, "upstream.stated: 'ab' contains control"),
        ({"ipfs": {"cid": "../x"}}, "ipfs.cid: '../x' is not a CID"),
        ({"mirrors": {}}, "mirrors.urls: missing"),
        ({"mirrors": {"urls": "https://x/{path}"}}, "mirrors.urls: must be an array, not a string"),
        ({"mirrors": {"urls": ["https://x/{file}"]}}, "mirrors.urls[0]: has a field other than"),
        ({"files": None}, "files: missing"),
        ({"files": []}, "files: must have 1 to 20000 entries, not 0"),
        ({"files": {}}, "files: must be an array, not a table"),
        ({"files": [1]}, "files[0]: must be a table, not an integer"),
        ({"files": [file(), file(sha256="b" * 64)]}, "files[1].path: 'a.bin' is listed twice"),
        ({"files": [file(), file(path="A.bin")]}, "files[1].path: 'A.bin' differs only in case"),
        ({"files": [file(), file(path="a.bin/x")]}, "files[1].path: 'a.bin/x' lies in 'a.bin'"),
        ({"files": [file(), file(path="b", size=2)]}, "files[1].size: another file has the same sha256"),
    ],
)
def test_a_wrong_value_is_one_fault_of_its_key(changes: dict[str, Any], fault: str) -> None:
    found = faults(document(**changes))
    assert found[0].startswith(fault)


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"path": None}, "files[0].path: missing"),
        ({"path": ""}, "files[0].path: '' is empty"),
        ({"path": 3}, "files[0].path: must be a string"),
        ({"size": None}, "files[0].size: missing"),
        ({"size": -1}, "files[0].size: must be at least 0"),
        ({"size": 2**63}, "files[0].size: must be at least 0 and below 9223372036854775808"),
        ({"size": False}, "files[0].size: must be an integer, not a boolean"),
        ({"size": 1.0}, "files[0].size: must be an integer, not a float"),
        ({"size": float("nan")}, "files[0].size: must be an integer, not a float"),
        ({"size": "1"}, "files[0].size: must be an integer, not a string"),
        ({"sha256": None}, "files[0].sha256: missing"),
        ({"cid": "short"}, "files[0].cid: 'short' is not a CID"),
        ({"cid": CID + "\n"}, "files[0].cid: "),
        ({"huggingface_path": "../../etc/passwd"}, "files[0].huggingface_path: '../../etc/passwd' must be"),
        ({"urls": "https://example.org"}, "files[0].urls: must be an array"),
        ({"executable": 1}, "files[0].executable: must be a boolean, not an integer"),
        ({"sha512": "x"}, "files[0].sha512: unknown key. Did you mean 'sha256'?"),
    ],
)
def test_a_wrong_fact_of_a_file_is_one_fault(changes: dict[str, Any], fault: str) -> None:
    [found] = faults(document(files=[file(**changes)]))
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        DIGEST[:-1],
        DIGEST + "0",
        DIGEST.upper(),
        DIGEST[:-1] + "g",
        DIGEST + "\n",
        DIGEST[:-1] + "\n",
        DIGEST[:-1] + "\x00",
        DIGEST[:-1] + "١",
        DIGEST[:-1] + "１",
        "sha256:" + DIGEST,
        "sha256:../../x",
        "../../" + "a" * 58,
        " " + DIGEST[1:],
        "0x" + DIGEST[2:],
    ],
)
def test_only_a_whole_lower_case_digest_is_one(digest: str) -> None:
    [fault] = faults(document(files=[file(sha256=digest)]))
    assert fault.startswith("files[0].sha256: ")


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/x", "must start with https://"),
        ("file:///etc/passwd", "must start with https://"),
        ("//example.org/x", "must start with https://"),
        ("example.org/x", "must start with https://"),
        ("https://", "has no host"),
        ("https:///x", "has no host"),
        ("https://example.org:0/x", "has no host"),
        ("https://example.org:99999/x", "is not a URL"),
        ("https://[::1/x", "is not a URL"),
        ("https://user@example.org/x", "user name or password"),
        ("https://user:word@example.org/x", "user name or password"),
        ("https://example.org@evil.example/x", "user name or password"),
        ("https://example.org\\@evil.example/x", "percent-encoded"),
        ("https://example.org/a b", "percent-encoded"),
        ("https://example.org/a\nb", "percent-encoded"),
        ("https://example.org/a\x1bb", "percent-encoded"),
        ("https://example.org/é", "percent-encoded"),
        ("https://example\u3002org/x", "percent-encoded"),
        ("https://example.org/x#y", "fragment"),
        ("https://example.org/{path}", "braces"),
        ("https://example.org/" + "x" * 8192, "longer than"),
        ("", "percent-encoded"),
    ],
)
def test_an_address_is_plain_http_without_secrets(url: str, reason: str) -> None:
    [fault] = faults(document(files=[file(urls=["https://example.org/ok", url])]))
    assert fault.startswith("files[0].urls[1]: ")
    assert reason in fault


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("https://example.org/{foo}/{path}", "has a field other than"),
        ("https://example.org/{}/{path}", "has a field other than"),
        ("https://example.org/{path!r}", "has a field other than"),
        ("https://example.org/{path.__class__}", "has a field other than"),
        ("https://example.org/{{path}}", "has a field other than"),
        ("https://example.org/{name}", "needs {path} or {sha256}"),
        ("https://{name}.example.org/{path}", "has a field in its host"),
        ("https://{path}@example.org/", "user name"),
        ("{path}", "must start with https://"),
        ("s3://bucket.example:9000/{path}", "has no valid name of a bucket"),
        ("s3://{name}/{path}", "has a field in its bucket"),
        ("gs://bucket/all", "needs {path} or {sha256}"),
        ("sftp://bucket/{path}", "must start with https://"),
    ],
)
def test_a_mirror_is_an_address_with_known_fields(template: str, reason: str) -> None:
    [fault] = faults(document(mirrors={"urls": [template]}))
    assert reason in fault


@pytest.mark.parametrize("key", ["urls", "mirrors", "homepage"])
def test_a_fault_never_repeats_an_address(key: str) -> None:
    url = "ftp://user:hunter2@example.org/x?token=hunter2"
    changes: dict[str, dict[str, Any]] = {
        "urls": {"files": [file(urls=[url])]},
        "mirrors": {"mirrors": {"urls": [url]}},
        "homepage": {"homepage": url},
    }
    assert "hunter2" not in " ".join(faults(document(**changes[key])))


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        ("library/alpine", "must start with the host of a registry"),
        ("alpine", "must start with the host of a registry"),
        ("-x.example/a", "must start with the host of a registry"),
        ("example.org:0/a", "must start with the host of a registry"),
        ("example.org:65536/a", "must start with the host of a registry"),
        ("example.org", "must have a path"),
        ("example.org/", "must have a path"),
        ("example.org/a:latest", "must have a path"),
        ("example.org/-a", "must have a path"),
        ("example.org/a//b", "must have a path"),
        ("example.org/../b", "must have a path"),
        ("example.org/a?b", "must have a path"),
        ("example.org/a b", "must have a path"),
        ("example.org/a\n", "must have a path"),
        ("example.org/" + "a" * 64, "must not be a digest"),
        ("example.org/a@sha256:" + "a" * 64, "must be host/path alone"),
        ("user:hunter2@example.org/a", "must be host/path alone"),
        ("https://example.org/a", "must be host/path alone"),
        ("example.org/" + "x" * 255, "longer than 255"),
    ],
)
def test_a_repository_is_a_host_and_a_path(repository: str, reason: str) -> None:
    [fault] = faults(document(oci={"repository": repository}))
    assert fault.startswith("oci.repository: ")
    assert reason in fault
    assert "hunter2" not in fault


@pytest.mark.parametrize(
    "repository",
    [
        "localhost/a",
        "localhost:5000/a/b",
        "ghcr.io/a__b/c-d.e",
        "[::1]:5000/a",
        "Host/a",
        "hf.co/Qwen/Q-GGUF",
    ],
)
def test_every_form_of_a_host_is_accepted(repository: str) -> None:
    assert parsed(tomli_w.dumps(document(oci={"repository": repository}))).oci == repository


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("", "is empty"),
        ("hf:a/b\x1b[31m", "contains control or invisible"),
        ("hf:a/b\u202e", "contains control or invisible"),
        ("hf:" + "x" * 8192, "longer than 8192"),
        ("https://user:hunter2@example.org/x", "user name or password"),
        ("http:hunter2", "has no host"),
        ("oci:user:hunter2@example.org/x", "user name or password"),
        ("s3://hunter2@bucket/x", "user name or password"),
        ("sftp://hunter2@bucket/x", "must be a reference such as"),
    ],
)
def test_the_reference_of_a_pin_is_safe_to_show(reference: str, reason: str) -> None:
    [fault] = faults(document(upstream={"ref": reference}))
    assert fault.startswith("upstream.ref: ")
    assert reason in fault


@pytest.mark.parametrize(
    "reference",
    [
        "hf:gpt2@feature/x",
        "oci:ghcr.io/a/b@sha256:" + "a" * 64,
        "https://example.org/a@b",
        "./models/a b",
        "new:kind/of@reference",
    ],
)
def test_the_grammar_of_a_reference_is_not_checked_here(reference: str) -> None:
    """A manifest that a newer version pinned can still be used."""
    origin = parsed(tomli_w.dumps(document(upstream={"ref": reference}))).upstream
    assert origin is not None
    assert origin.ref == reference


def test_a_newer_schema_is_the_only_fault_reported() -> None:
    assert faults('schema = 2\nname = 7\nnovelty = "x"') == [
        "schema: written for a newer modelfetch; upgrade modelfetch to use it"
    ]


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeff\ufeff" + FULL,
        "schema = 1\nschema = 1",
        "name = 'x",
        "[" * 100_000,
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 100_000,
        "a." * 500_000 + "a = 1",
        "[" + "a." * 500_000 + "a]",
        'a = {"b" . ' + "'c'. " * 500_000 + "c=1}",
        "size = " + "1" * 5000,
        "schema = 0x" + "f" * 5000,
        "schema = 1e999",
        "schema = nan",
        "schema = 1979-05-27T07:32:00Z",
        "a = '\ud800'",
        'a = "\\ud800"',
        "a\x00b = 1",
        '"\x1b[31m" = 1',
        "# \x07",
        "files = 1\n[[files]]",
        "x" * (4 * 1024 * 1024 + 1),
    ],
    ids=lambda text: ascii(text[:16]),
)
def test_hostile_documents_are_manifest_errors_and_soon(text: str) -> None:
    begun = time.monotonic()
    assert faults(text)
    assert time.monotonic() - begun < IN_TIME


def test_a_syntax_error_names_its_line() -> None:
    assert faults("schema = 1\nname = \n") == ["not valid TOML: Invalid value (at line 2, column 8)"]


def test_a_long_dotted_key_names_its_line() -> None:
    [fault] = faults("schema = 1\n" + "a." * 40 + "a = 1")
    assert fault == "not valid TOML: dotted key of more than 32 parts (at line 2, column 2)"


def test_endless_faults_are_counted_and_not_kept() -> None:
    found = faults("".join(f"key{index} = 1\n" for index in range(1500)))
    assert len(found) == 1001
    assert found[-1] == "and 504 more faults"


@pytest.mark.slow
def test_twenty_thousand_files_are_read_and_no_more() -> None:
    def listing(count: int) -> str:
        head = 'schema=1\nname="m"\nversion="1"\n'
        one = '[[files]]\npath="d/{0}"\nsize={0}\nsha256="{0:064x}"\n'
        return head + "".join(one.format(index) for index in range(count))

    assert len(parsed(listing(20_000)).files) == 20_000
    assert faults(listing(20_001)) == ["files: must have 1 to 20000 entries, not 20001"]


def test_a_file_is_called_after_its_manifest(tmp_path: Path) -> None:
    path = tmp_path / "whisper-base.toml"
    path.write_text(FULL)
    assert load_manifest(path).name == "whisper-base"
    with pytest.raises(ManifestError, match=r"name: is 'whisper-base', but the file is called 'other\.toml'"):
        load_manifest(path.rename(tmp_path / "other.toml"))


def test_a_byte_order_mark_is_no_part_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "whisper-base.toml"
    path.write_text(FULL, "utf-8-sig")
    assert load_manifest(path) == parsed(FULL, "whisper-base")


def test_a_file_that_cannot_be_read_is_a_manifest_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\x20\[31m\.toml: cannot be read: "):
        load_manifest(tmp_path / "absent \x1b[31m.toml")
    with pytest.raises(ManifestError, match="is not a regular file"):
        load_manifest(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"schema = 1\ntitle = '\xe9'\n")
    with pytest.raises(ManifestError, match=r"is not UTF-8 \(at line 2\)"):
        load_manifest(tmp_path / "latin.toml")
    (tmp_path / "wide.toml").write_bytes("schema = 1\n".encode("utf-16"))
    with pytest.raises(ManifestError, match="is UTF-16 text; save it as UTF-8"):
        load_manifest(tmp_path / "wide.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ManifestError, match="larger than 4 MiB"):
        load_manifest(tmp_path / "large.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ManifestError, match="is not a regular file"):
        load_manifest(tmp_path / "pipe.toml")


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["schema", "name", "version", "kind", "title", "homepage", "huggingface", "ipfs", "mirrors", "files"]
)
FILE_KEYS = st.sampled_from(["path", "size", "sha256", "cid", "huggingface_path", "urls"])


def refused_or_read(text: str) -> None:
    """Parse; only a ManifestError with faults fit to show may come out."""
    found: tuple[str, ...] = ()
    try:
        assert parsed(text, "whisper-base").files
    except ManifestError as error:
        found = error.faults
    assert all(fault == sanitize(fault) for fault in found)


@settings(max_examples=100)
@given(st.text(st.characters() | st.sampled_from("[]{}=\"'.,#\n")))
def test_any_text_is_read_or_refused(text: str) -> None:
    refused_or_read(text)


@settings(max_examples=60)
@given(st.integers(0, len(FULL)), st.integers(0, 12), st.text(max_size=4))
def test_a_manifest_with_a_piece_replaced_is_read_or_refused(start: int, length: int, piece: str) -> None:
    refused_or_read(FULL[:start] + piece + FULL[start + length :])


@pytest.mark.slow
@settings(max_examples=60)
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(FILE_KEYS, VALUES, max_size=3))
def test_a_manifest_with_values_of_any_type_is_read_or_refused(
    root: dict[str, Any], entry: dict[str, Any]
) -> None:
    source = document(**{"files": [file(**entry)]} | root)
    refused_or_read(tomli_w.dumps(source))
