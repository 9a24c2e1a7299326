"""What ``outdated``, ``upgrade`` and ``diff`` share: how changes are printed, and what is refused offline.

A file per line, with a sign as in a diff: ``+`` added, ``-`` removed, ``~`` changed, ``?`` not compared.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from modelfetch.cli.output import print_line, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelfetch.model.manifest import Manifest
    from modelfetch.model.reference import Reference
    from modelfetch.pins.comparison import Comparison, FileChange, Kind
    from modelfetch.workspace import Workspace

_SHOWN: Final = 20
"""Changed files that are listed for one model; ``--json`` has all of them."""
_SIGNS: Final[dict[Kind, str]] = {"added": "+", "removed": "-", "changed": "~"}


def require_network(workspace: Workspace, manifests: Sequence[Manifest]) -> None:
    """Refuse to ask upstreams offline, before the first request.

    Raises:
        OfflineError: The network must not be used, and there is something to ask.
    """
    from modelfetch.errors import OfflineError

    if workspace.loaded.offline and manifests:
        raise OfflineError(
            "cannot ask any upstream: the network must not be used",
            hint="Unset MODELFETCH_OFFLINE. Pinned models work offline, however old their check is.",
        )


def say_private_upstreams(workspace: Workspace, manifests: Sequence[Manifest]) -> None:
    """Report requests into a private network that a project causes, before they are sent."""
    from modelfetch.pins.private_upstreams import private_upstreams

    for line in private_upstreams(workspace, manifests):
        say(f"note: {line}")


def parser(workspace: Workspace) -> Callable[[str], Reference]:
    """Return the function that parses references, with the endpoints of the settings."""
    from modelfetch.pins.session import parsed

    return partial(parsed, workspace)


def about(name: str, message: str) -> str:
    """Return a message that names the model it is about."""
    return message if message.startswith(name) else f"{name}: {message}"


def short(revision: str) -> str:
    """Shorten a commit or digest, as git does; other revisions stay."""
    digits = revision.removeprefix("sha256:")
    is_hash = len(digits) >= 40 and all(digit in "0123456789abcdef" for digit in digits)
    return digits[:12] if is_hash else revision


def counts(comparison: Comparison | None) -> str:
    """The number of changes, such as ``+1 -2 ~3``."""
    if comparison is None:
        return ""
    counts = [f"{sign}{number}" for kind, sign in _SIGNS.items() if (number := comparison.count(kind))]
    if comparison.uncompared:
        counts.append(f"?{len(comparison.uncompared)}")
    return " ".join(counts)


def print_changes(comparison: Comparison) -> None:
    """Print the files that differ, and how many do not."""
    from modelfetch.reporters.terminal_text import plural

    for change in comparison.changes[:_SHOWN]:
        print_line(f"  {_SIGNS[change.kind]} {change.path}  {_sizes(change)}")
    if (more := len(comparison.changes) - _SHOWN) > 0:
        print_line(f"  and {more} more (--json lists all)")
    for path in comparison.uncompared[:_SHOWN]:
        print_line(f"  ? {path}  same size; its digest is not stated")
    if comparison.unchanged:
        print_line(f"  {plural(comparison.unchanged, 'file')} unchanged")


def _sizes(change: FileChange) -> str:
    from modelfetch.model.units import format_size

    before, after = (
        "unknown size" if size is None else format_size(size) for size in (change.before, change.after)
    )
    if change.kind == "changed":
        return before if before == after else f"{before} -> {after}"
    return after if change.kind == "added" else before
