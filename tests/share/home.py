"""A machine with a catalog and a cache, some of whose models are present."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelfetch.ipfs.file_tree import FileTree
from modelfetch.ipfs.profiles import UNIXFS_V1_2025
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest
from modelfetch.model.write import manifest_toml
from modelfetch.share.shared_models import SharedModels
from modelfetch.store import Store
from modelfetch.workspace import Workspace
from tests.store.material import WHEN

MIB = 1 << 20
BIG = random.Random(14).randbytes(3 * MIB + 5)
"""Four chunks."""
CONTENTS = {
    "config.json": b'{"a": 1}',
    "onnx/model.onnx": BIG,
    "onnx/q4/model.onnx": b"small",
    "empty.txt": b"",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(
    name: str = "tiny", contents: Mapping[str, bytes] = CONTENTS, repo: str = "org/tiny", **more: Any
) -> Manifest:
    """A model that pins a repository of Hugging Face; ``commit`` is its commit."""
    commit = more.pop("commit", COMMIT)
    kind = more.pop("repo_type", "model")
    files = tuple(FileSpec(path, len(content), digest(content)) for path, content in contents.items())
    hub = HuggingFaceRepo(repo, commit, kind) if repo else None
    return replace(Manifest(name, "v1", files, huggingface=hub), **more)


class Home:
    """The machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalog = root / "catalog"
        self.catalog.mkdir(parents=True)
        self.cache = root / "cache"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "HOME": str(self.root),
            "MODELFETCH_CACHE_DIR": str(self.cache),
            "MODELFETCH_CATALOG": str(self.catalog),
        }

    @property
    def store(self) -> Store:
        return Store(self.cache)

    def load(self) -> Workspace:
        return Workspace.open(environ=self.environ, cwd=self.root)

    def models(self) -> SharedModels:
        return SharedModels(self.load)

    def pin(self, manifest: Manifest) -> Manifest:
        """Write a manifest into the catalog."""
        (self.catalog / f"{manifest.name}.toml").write_text(manifest_toml(manifest), "utf-8")
        return manifest

    def fetch(
        self, manifest: Manifest, contents: Mapping[str, bytes] = CONTENTS, *, at: Any = WHEN
    ) -> Manifest:
        """Make a model present: with its blobs, chunk maps, and a receipt."""
        store = self.store
        for file in manifest.files:
            content = contents[file.path]
            with store.partial(file, True) as partial:
                if content:
                    partial.put(0, content, "mirror a")
                partial.digest()
                store.commit(partial)
            store.place(manifest, file)
            store.chunk_maps.write(file.sha256, built(content))
        paths = [file.path for file in manifest.files]
        store.write_receipt(manifest, dict.fromkeys(paths, "mirror a"), dict.fromkeys(paths, at))
        return manifest

    def place(self, manifest: Manifest, contents: Mapping[str, bytes] = CONTENTS, **more: Any) -> Manifest:
        """Pin a model, and make it present."""
        self.pin(manifest)
        return self.fetch(manifest, contents, **more)

    def blob(self, content: bytes) -> Path:
        sha256 = digest(content)
        return self.cache / "blobs" / "sha256" / sha256[:2] / sha256


def built(content: bytes) -> Any:
    """The tree of a file."""
    tree = FileTree(UNIXFS_V1_2025)
    for start in range(0, len(content), MIB):
        tree.add_chunk(content[start : start + MIB])
    return tree.finish()
