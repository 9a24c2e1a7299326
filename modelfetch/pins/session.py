"""What one command needs to make pins: a client, the upstreams, and what computes digests.

A :class:`PinSession` exists for the run of a command, and closes its connections at the end::

    with open_session(workspace) as session:
        pin = session.pin(PinRequest(session.parse(["hf:org/repo"])))

Nothing of HTTP is imported until the first request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelfetch.cancel import Cancellation
from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.model.addresses import why_bad_url
from modelfetch.pins.catalogs import check_name
from modelfetch.pins.digests import Digests, StoreDigests
from modelfetch.pins.parsing import parsed
from modelfetch.pins.pin import Choose, Pin, PinRequest, UpstreamFor, make_pin

if TYPE_CHECKING:
    from modelfetch.model.reference import Reference
    from modelfetch.pins.digests import Progress
    from modelfetch.settings import Loaded
    from modelfetch.workspace import Workspace

__all__ = ["PinSession", "open_session", "parsed"]


@dataclass(frozen=True, slots=True)
class PinSession:
    """Makes pins in one workspace."""

    workspace: Workspace
    upstream_for: UpstreamFor
    digests: Digests

    def parse(self, texts: Sequence[str]) -> tuple[Reference, ...]:
        """Parse references, with the endpoints of the settings.

        Raises:
            UsageError: A text is no reference.
        """
        return tuple(parsed(self.workspace, text) for text in texts)

    def pin(self, request: PinRequest, choose: Choose | None = None) -> Pin:
        """Make a new pin, whose name no catalog has; see :func:`~modelfetch.pins.pin.make_pin`."""
        return make_pin(
            request,
            self.upstream_for,
            self.digests,
            choose=choose,
            check_name=lambda name, asked: check_name(self.workspace, name, asked),
        )


@contextmanager
def open_session(
    workspace: Workspace,
    *,
    cancel: Cancellation | None = None,
    offline: bool = False,
    keep: bool = True,
    public_only: bool = False,
    named: Sequence[str] = (),
    progress: Progress = lambda *_: None,
    waiting: Callable[[str], None] = lambda _: None,
) -> Iterator[PinSession]:
    """Open a session, and close its connections at the end.

    Args:
        workspace: Settings, catalogs and cache.
        cancel: Ends requests and waits from another thread.
        offline: Whether the network must not be used, besides what the settings say.
        keep: Whether the bytes that are read for a digest are kept in the cache; not for ``--dry-run``.
        public_only: Whether requests must stay in the public internet, apart from the hubs that settings and
            environment name: the references come from a client of a server, which must not reach through it
            what it cannot reach itself.
        named: Further addresses that may be private then.
        progress: Called with a file, and how many of its bytes were read.
        waiting: Called with a line before each delay that a server asked for.
    """
    from modelfetch.net.hub_client import HubClient
    from modelfetch.upstreams.access import Access
    from modelfetch.upstreams.registry import open_upstream

    loaded = _loaded(workspace, offline=offline)
    cancel = cancel or Cancellation()
    may_be_private = (*_configured(loaded, os.environ), *named) if public_only else None
    hub = HubClient.of_settings(loaded.settings, cancel, waiting=waiting, may_be_private=may_be_private)
    access = Access(hub, loaded, os.environ)
    try:
        yield PinSession(
            workspace,
            lambda reference: open_upstream(reference, access),
            StoreDigests(workspace.store, progress, keep=keep),
        )
    finally:
        hub.client.close()


def _configured(loaded: Loaded, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses that settings and environment name; a project's are among them."""
    settings = loaded.settings
    hubs = (settings.huggingface.endpoint, settings.modelscope.endpoint, *settings.ipfs.gateways)
    github = environ.get("GITHUB_API_URL", "").strip()
    return hubs if why_bad_url(github) else (*hubs, github)


def _loaded(workspace: Workspace, *, offline: bool) -> Loaded:
    loaded = workspace.loaded
    return replace(loaded, offline=True) if offline and not loaded.offline else loaded
