"""The built-in model ``demo``: downloaded for real, from an origin that runs inside this process.

It goes through exactly the path every model takes. Only its addresses are special: they exist for the time of
the run, so they are attached to the manifest when a run begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from modelfetch.demo.content import SIZES
from modelfetch.model.manifest import Manifest

NAME = "demo"


@contextmanager
def serving(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Run the embedded origin while it is needed, and give the demo its addresses.

    Yields:
        The manifests, the demo's with a mirror that fails on the way and an address that works.
    """
    if not has_demo(manifests):
        yield list(manifests)
        return
    from modelfetch.demo.origin import Origin  # a server is needed for this one model only

    with Origin(flaky=True) as mirror, Origin() as origin:
        yield [_attach(manifest, mirror.url, origin.url) for manifest in manifests]


def has_demo(manifests: Sequence[Manifest]) -> bool:
    """Whether one of the models is our own demo."""
    return any(map(_is_demo, manifests))


def _is_demo(manifest: Manifest) -> bool:
    """Whether this is our own demo, and not somebody's model of the same name."""
    return manifest.name == NAME and {file.path: file.size for file in manifest.files} == SIZES


def _attach(manifest: Manifest, mirror: str, origin: str) -> Manifest:
    if not _is_demo(manifest):
        return manifest
    files = tuple(replace(file, urls=(f"{origin}/{file.path}",)) for file in manifest.files)
    return replace(manifest, files=files, mirrors=(f"{mirror}/{{path}}",))
