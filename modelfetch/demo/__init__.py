"""The built-in model ``demo``, fetched from HTTP servers that run inside this process.

It is fetched, verified and stored like every model. Only its URLs are special: their servers exist only
during a run, so they are added to the manifest when the run starts. The run sees a mirror that fails halfway
and an origin that works, so it shows a fallback that resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from modelfetch.demo.content import SIZES
from modelfetch.lazy_dataclass import replace
from modelfetch.model.manifest import Manifest

NAME = "demo"


@contextmanager
def serving(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Run the embedded servers if the demo is among the models, and add their URLs to its manifest.

    Yields:
        The manifests; that of the demo with a mirror that fails halfway and an origin that works.
    """
    if not has_demo(manifests):
        yield list(manifests)
        return
    from modelfetch.demo.origin import Origin  # imported here: no other model needs a server

    with Origin(flaky=True) as mirror, Origin() as origin:
        yield [_attach(manifest, mirror.url, origin.url) for manifest in manifests]


def has_demo(manifests: Sequence[Manifest]) -> bool:
    """Whether the built-in demo is among the models."""
    return any(map(_is_demo, manifests))


def _is_demo(manifest: Manifest) -> bool:
    """Whether a manifest is the built-in demo, not a model of a user with the same name."""
    return manifest.name == NAME and {file.path: file.size for file in manifest.files} == SIZES


def _attach(manifest: Manifest, mirror: str, origin: str) -> Manifest:
    if not _is_demo(manifest):
        return manifest
    files = tuple(replace(file, urls=(f"{origin}/{file.path}",)) for file in manifest.files)
    return replace(manifest, files=files, mirrors=(f"{mirror}/{{path}}",))
