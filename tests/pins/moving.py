"""An upstream in memory whose repositories move, and pins that follow them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelfetch.errors import ModelfetchError, UnknownModelError
from modelfetch.model.manifest import FileSpec, HuggingFaceRepo, Manifest, PinOrigin
from modelfetch.model.reference import Reference, RepoReference
from modelfetch.model.write import manifest_toml
from modelfetch.store.intake import FileDigest
from modelfetch.upstreams.base import Listing, Upstream, UpstreamFile

OLD, NEW = "a" * 40, "b" * 40


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed(path: str, content: bytes, *, is_stated: bool = True) -> UpstreamFile:
    """A file of a listing: as LFS with its SHA-256, or as a small git file with its blob id alone."""
    digest = sha256(content) if is_stated else None
    return UpstreamFile(path, len(content), digest, git_blob(content), fetch_url=content.hex())


def pinned(path: str, content: bytes) -> FileSpec:
    return FileSpec(path, len(content), sha256(content))


def parse(text: str) -> Reference:
    """The references of these tests: ``hf:org/repo@revision``."""
    hub, _, rest = text.partition(":")
    repo, _, revision = rest.partition("@")
    return RepoReference("ms" if hub == "ms" else "hf", repo, revision or None)


@dataclass
class Hub:
    """Repositories by reference; each has a revision and files, or fails."""

    answers: dict[str, Listing | ModelfetchError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def has(self, ref: str, revision: str, *files: UpstreamFile, license: str = "MIT") -> None:  # noqa: A002
        reference = parse(ref)
        assert isinstance(reference, RepoReference)
        repo = HuggingFaceRepo(reference.repo, revision)
        self.answers[ref] = Listing(
            reference,
            revision,
            files,
            "huggingface",
            reference.repo.split("/")[1],
            license=license,
            huggingface=repo,
        )

    def upstream_for(self, reference: Reference) -> Upstream:
        return self

    def resolve(self, reference: Reference) -> Listing:
        self.asked.append(reference.text)
        answer = self.answers.get(reference.text, UnknownModelError(f"{reference.text} does not exist"))
        if isinstance(answer, ModelfetchError):
            raise answer
        return answer

    @contextmanager
    def open(self, file: UpstreamFile) -> Iterator[Iterator[bytes]]:
        yield iter([bytes.fromhex(file.fetch_url)])


class Hashed:
    """Digests computed from what the fake upstream delivers."""

    def compute(self, upstream: Upstream, file: UpstreamFile) -> FileDigest:
        with upstream.open(file) as pieces:
            content = b"".join(pieces)
        return FileDigest(len(content), sha256(content), git_blob(content))


def pin(
    name: str = "m", ref: str = "hf:org/m@main", files: Mapping[str, bytes] | None = None, **more: object
) -> Manifest:
    """A pin as `add` writes it."""
    contents = {"config.json": b"{}", "model.bin": b"weights"} if files is None else files
    return Manifest(
        name,
        OLD[:12],
        tuple(pinned(path, content) for path, content in contents.items()),
        huggingface=HuggingFaceRepo(parse(ref).repo, OLD),  # type: ignore[union-attr]
        license="MIT",
        upstream=PinOrigin(ref, added="2026-11-01", stated="huggingface"),
        **more,  # type: ignore[arg-type]
    )


def written(directory: Path, manifest: Manifest) -> Path:
    """Write a manifest into a catalog."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{manifest.name}.toml"
    path.write_text(manifest_toml(manifest), encoding="utf-8")
    return path
