"""``ensure --shard I/N``: which models each of N parallel jobs makes present.

The models are sorted by the identity of their manifests, and dealt to the shards one after the other. So each
model is in exactly one shard, the shards differ by at most one model, and every machine computes the same
without asking another one. The names, their order and the sources of the models do not matter::

    $ modelfetch ensure --shard 1/2     # and on another machine: --shard 2/2

Whole models are dealt, not files: after its job a shard has models that programs can open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

_FORM: Final = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a set of models."""

    number: int
    """From 1, as CI services number the jobs of a matrix for people."""
    of_shards: int

    @property
    def text(self) -> str:
        """The form in which it was given."""
        return f"{self.number}/{self.of_shards}"

    def of(self, manifests: Sequence[Manifest]) -> list[Manifest]:
        """The models of this shard, in their given order."""
        # Models may have the same files under two names: the name decides then.
        ordered = sorted(manifests, key=lambda manifest: (manifest.identity, manifest.name))
        mine = {manifest.name for manifest in ordered[self.number - 1 :: self.of_shards]}
        return [manifest for manifest in manifests if manifest.name in mine]


def parse_shard(text: str) -> Shard:
    """Read ``I/N``.

    Raises:
        UsageError: It has another form, or I is greater than N.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise UsageError(
            f"--shard {quote(text)} is not I/N with I from 1 to N",
            hint="Give --shard 1/4 to the first of four jobs, and --shard 4/4 to the last.",
        )
    return Shard(int(found[1]), int(found[2]))
