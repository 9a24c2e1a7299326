"""Hands a model to all targets of a run, in their order: kubo nodes first, then services.

A pinning service fetches the blocks by itself. Its request therefore states the addresses of the kubo node
that got them in the same run, and the node connects to the addresses of the service.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from modelfetch.lazy_dataclass import dataclass
from modelfetch.publish.kubo import Kubo
from modelfetch.publish.model_tree import hash_model
from modelfetch.publish.pinata import Pinata
from modelfetch.publish.pinning_service import PinningService
from modelfetch.publish.service import Service, is_same_cid
from modelfetch.publish.targets import TargetKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelfetch.cancel import Cancellation
    from modelfetch.model.manifest import Manifest
    from modelfetch.net.hub_client import HubClient
    from modelfetch.publish.model_tree import FileProgress, ModelTree
    from modelfetch.publish.targets import Target

State = Literal["present", "pinned", "missing", "queued", "pinning", "failed"]
"""``present``: the target had the model. ``missing``: it has not, in a dry run; the last three are what a
pinning service says in a dry run."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Called while a model is handed over."""

    progress: FileProgress = lambda *_: None
    """Called when bytes of a file were sent."""
    note: Callable[[str], None] = lambda _: None
    """Gets a line for the user."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target."""

    target: Target
    state: State
    sent: int = 0
    """Bytes that were sent."""
    skipped: int = 0
    """Bytes of files that the target had from an earlier run."""
    request: str = ""
    """Id of the request, for pinning services."""


class Handover:
    """Hands one model to several targets.

    Args:
        hub: Sends requests.
        cancel: Ends waits.
        manifest: The model.
        tree: Its blocks.
        callbacks: Called while it is handed over.
        seconds: Longest wait for a pinning service.
    """

    def __init__(
        self,
        hub: HubClient,
        cancel: Cancellation,
        manifest: Manifest,
        tree: ModelTree,
        callbacks: Callbacks,
        seconds: float,
    ) -> None:
        self._hub = hub
        self._cancel = cancel
        self._manifest = manifest
        self._tree = tree
        self._callbacks = callbacks
        self._seconds = seconds
        self._node: Kubo | None = None
        self.outcomes: Final[list[Outcome]] = []

    def run(self, targets: Sequence[Target], *, dry_run: bool) -> list[Outcome]:
        """Hand the model to targets, or only ask them what they have.

        Raises:
            ModelfetchError: A target could not take it; those before it have it.
            Cancelled: The run was cancelled.
        """
        act = {
            TargetKind.KUBO: self._kubo,
            TargetKind.SERVICE: self._service,
            TargetKind.PINATA: self._pinata,
        }
        for target in targets:
            outcome = act[target.kind](target, dry_run)
            self.outcomes.append(outcome)
            self._callbacks.note(summary_line(outcome))
        return self.outcomes

    def _kubo(self, target: Target, dry_run: bool) -> Outcome:
        node = Kubo(Service(self._hub, target), self._tree, self._callbacks.progress)
        self._node = node
        result = node.plan() if dry_run else node.publish()
        if result.is_pinned_already:
            return Outcome(target, "present")
        return Outcome(target, "missing" if dry_run else "pinned", result.sent, result.skipped)

    def _service(self, target: Target, dry_run: bool) -> Outcome:
        name = f"{self._manifest.name}-{self._manifest.version}"
        host = target.host
        service = PinningService(
            Service(self._hub, target),
            self._tree,
            name,
            self._cancel.sleep,
            lambda status: self._callbacks.note(f"{host}: {status}"),
        )
        found = service.find()
        if found is not None and found.status == "pinned":
            return Outcome(target, "present", request=found.id)
        if dry_run:
            return Outcome(target, "missing" if found is None else found.status)
        node = self._node
        if node is None:
            self._callbacks.note(f"note: {host} fetches the blocks itself, from a node that has them")
            done = service.publish([], self._seconds)
        else:
            done = service.publish(node.addresses(), self._seconds, node.connect)
        return Outcome(target, "pinned", request=done.id)

    def _pinata(self, target: Target, dry_run: bool) -> Outcome:
        pinata = Pinata(
            Service(self._hub, target),
            self._tree,
            self._manifest,
            self._other_profile,
            self._callbacks.progress,
        )
        if dry_run:
            return Outcome(target, "present" if pinata.is_pinned() else "missing")
        uploaded = pinata.publish()
        return Outcome(target, "present" if uploaded.is_pinned_already else "pinned", uploaded.sent)

    def _other_profile(self, stated: object) -> str:
        """Find out under which other profile the model has a CID, by reading it again."""
        from modelfetch.ipfs.profiles import PROFILES
        from modelfetch.publish.tree_hashing import HashingPool

        files = [file.placed for file in self._tree.files]
        for profile in PROFILES.values():
            if profile == self._tree.profile:
                continue
            with HashingPool() as pool:
                other = hash_model(files, profile, pool)
            if is_same_cid(stated, other.root):
                return profile.name
        return ""


def summary_line(outcome: Outcome) -> str:
    """One line about a target for the user."""
    from modelfetch.model.units import format_size

    host = outcome.target.host
    if outcome.state == "present":
        return f"{host} has the model already"
    if outcome.state == "missing":
        return f"would publish to {host}"
    if outcome.state != "pinned":
        return f"already requested at {host}: {outcome.state}"
    parts = [f"{format_size(outcome.sent)} sent"] if outcome.sent else []
    parts += [f"{format_size(outcome.skipped)} were there"] if outcome.skipped else []
    return f"published to {host}" + (f" ({', '.join(parts)})" if parts else "")
