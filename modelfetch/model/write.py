"""Writing of manifests: :class:`~modelfetch.model.manifest.Manifest` to TOML.

The result is deterministic: the same manifest is the same text, with its keys in the order of
``docs/reference/manifest.md``. Keys that have their default value are left out, except ``kind``. Parsing the
text returns an equal manifest, except for its license notice, which no manifest's TOML contains. Example::

    schema = 1
    name = "whisper-base"
    version = "1846881b6b3a"
    kind = "model"

    [[files]]
    path = "config.json"
    size = 2243
    sha256 = "f4d0608f7d918166da7edb3e188de5ef1bfe70d9802e785d271fd88111e9cf4b"

    [upstream]
    ref = "hf:onnx-community/whisper-base@main"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelfetch.model.parse import SCHEMA

if TYPE_CHECKING:
    from modelfetch.model.manifest import (
        FileSpec,
        HuggingFaceRepo,
        Manifest,
        ModelScopeRepo,
        PinOrigin,
        SwarmTorrent,
    )


def manifest_toml(manifest: Manifest) -> str:
    """Format a manifest as TOML; the file is called ``<name>.toml``."""
    import tomli_w  # only the commands that write a pin need it

    return tomli_w.dumps(_document(manifest))


def _document(manifest: Manifest) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        **_given(
            task=manifest.task,
            format=manifest.format,
            title=manifest.title,
            license=manifest.license,
            homepage=manifest.homepage,
            huggingface=_repository(manifest.huggingface),
            modelscope=_repository(manifest.modelscope),
            oci=_given(repository=manifest.oci),
            ipfs=_given(cid=manifest.ipfs_cid),
            mirrors=_given(urls=list(manifest.mirrors)),
            swarm=_swarm(manifest.swarm),
        ),
        "files": [_file(file) for file in manifest.files],
        **_given(upstream=_upstream(manifest.upstream)),
    }


def _given(**values: Any) -> dict[str, Any]:
    """Return the keys that have a value: None, false and everything empty is what a missing key means."""
    return {key: value for key, value in values.items() if value}


def _repository(repository: HuggingFaceRepo | ModelScopeRepo | None) -> dict[str, str] | None:
    if repository is None:
        return None
    kind = None if repository.type == "model" else repository.type
    return {"repo": repository.repo, "revision": repository.revision, **_given(type=kind)}


def _swarm(torrent: SwarmTorrent | None) -> dict[str, Any] | None:
    if torrent is None:
        return None
    return {"infohash": torrent.infohash, **_given(trackers=list(torrent.trackers))}


def _file(file: FileSpec) -> dict[str, Any]:
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        **_given(
            cid=file.cid,
            huggingface_path=file.huggingface_path,
            urls=list(file.urls),
            executable=file.executable,
        ),
    }


def _upstream(origin: PinOrigin | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {
        "ref": origin.ref,
        **_given(
            include=list(origin.include),
            exclude=list(origin.exclude),
            added=origin.added,
            stated=origin.stated,
        ),
    }
