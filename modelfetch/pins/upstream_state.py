"""What is known of a pin's upstream: up to date, moved, a check due, a check failed. Nothing is asked here.

A check is what ``outdated`` does; its result is in the history. The settings decide how long it counts::

    failed    the last check failed, and none succeeded for `cache.max_age_days` and `cache.stale_days` more
    moved     the last successful check found other files
    due       the last successful check, or `add`, is more than `cache.max_age_days` ago
    current   none of these

The first that applies is the state. A state is a hint for a person and never a reason to refuse anything:
a pin names exact bytes, however old it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from modelfetch.lazy_dataclass import dataclass
from modelfetch.settings import redact

if TYPE_CHECKING:
    from modelfetch.history import CheckRow
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace

State = Literal["current", "moved", "due", "failed"]


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """What is known of the upstream of one pin."""

    ref: str
    """The reference that the pin follows."""
    state: State
    checked_at: datetime | None
    """Time of the last successful check, or else the day of ``add``; None if neither is known."""
    moved: bool
    """Whether the last successful check found other files, also if a later one failed."""
    revision: str
    """The revision that the last successful check found, or empty."""
    error: str
    """Why the last check failed; empty unless the state is ``failed``."""

    @property
    def document(self) -> dict[str, Any]:
        """The state as JSON, for commands and the server."""
        return {
            "ref": self.ref,
            "state": self.state,
            "checked_at": None if self.checked_at is None else stamp(self.checked_at),
            "moved": self.moved,
            "revision": self.revision,
            "error": self.error,
        }

    @property
    def words(self) -> str:
        """The state for a person, such as ``check due, last checked 2026-08-01``."""
        when = "never checked" if self.checked_at is None else f"last checked {self.checked_at:%Y-%m-%d}"
        words = {"current": "up to date", "moved": "moved", "due": "check due", "failed": "check failed"}
        reason = f": {self.error}" if self.error else ""
        return f"{words[self.state]}, {when}{reason}"


@dataclass(frozen=True, slots=True)
class StalePolicy:
    """How long checks count."""

    max_age_days: int
    """Setting ``cache.max_age_days``; 0 means that no check is ever due."""
    stale_days: int
    """Setting ``cache.stale_days``: days past that age during which a failed check is not flagged, because an
    upstream may be down for a while."""

    def is_due(self, checked_at: datetime | None, now: datetime, grace: int = 0) -> bool:
        """Whether a check is due, given the time of the last successful one.

        Args:
            checked_at: That time, or None.
            now: The time.
            grace: Days for which it may be overdue.
        """
        if self.max_age_days == 0:
            return False
        return checked_at is None or now - checked_at > timedelta(days=self.max_age_days + grace)

    def is_flagged(self, failed_at: datetime | None, checked_at: datetime | None, now: datetime) -> bool:
        """Whether a failed check is flagged, given the times of the last failed and successful ones."""
        return failed_at is not None and self.is_due(checked_at, now, self.stale_days)


def upstream_state(
    manifest: Manifest, row: CheckRow | None, policy: StalePolicy, now: datetime
) -> UpstreamState | None:
    """Return what is known of the upstream of a pin; None if it has none.

    Args:
        manifest: The pin.
        row: Its checks, for exactly these files; None if there were none.
        policy: How long checks count.
        now: The time, with a time zone.
    """
    if manifest.upstream is None:
        return None
    checked_at = row.checked_at if row is not None else None
    moved = checked_at is not None and row is not None and row.moved
    checked_at = checked_at or _day(manifest.upstream.added)
    is_failed = row is not None and policy.is_flagged(row.failed_at, checked_at, now)
    state: State = "current"
    if is_failed:
        state = "failed"
    elif moved:
        state = "moved"
    elif policy.is_due(checked_at, now):
        state = "due"
    revision = row.revision if row is not None else ""
    error = row.error if row is not None and is_failed else ""
    return UpstreamState(shown_ref(manifest), state, checked_at, moved, revision, error)


def upstream_states(workspace: Workspace, manifests: Iterable[Manifest]) -> Mapping[str, UpstreamState]:
    """Return what is known of the upstreams of pins, by name; pins without an upstream are left out.

    The history is opened only if one of them has an upstream: most commands would pay for it otherwise.
    """
    pins = [manifest for manifest in manifests if manifest.upstream is not None]
    if not pins:
        return {}
    cache = workspace.loaded.settings.cache
    policy = StalePolicy(cache.max_age_days, cache.stale_days)
    with workspace.history() as history:
        rows = {(row.ref, row.identity): row for row in history.checks()}
    now = datetime.now(UTC)
    states = {}
    for pin in pins:
        row = rows.get((pin.upstream.ref if pin.upstream else "", pin.identity))
        if (state := upstream_state(pin, row, policy, now)) is not None:
            states[pin.name] = state
    return states


def shown_ref(manifest: Manifest) -> str:
    """Return the reference that a pin follows, without the credentials that an address may contain."""
    ref = manifest.upstream.ref if manifest.upstream is not None else ""
    return redact(ref) if "://" in ref else ref


def stamp(at: datetime) -> str:
    """Format a time as all documents have it: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _day(text: str) -> datetime | None:
    """Return the start of a day, ``YYYY-MM-DD``; None for any other text."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
