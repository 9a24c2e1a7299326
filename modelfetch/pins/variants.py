"""The variants of a GGUF repository, one of which a person wants: its quantizations. Pure.

A repository often has thirty files with the same weights in different precision. They are told apart by their
paths; a split file is one variant, whatever number of parts it has::

    model-Q4_K_M.gguf                  ->  Q4_K_M, --include '*Q4_K_M*'
    Q8_0/model-Q8_0-00001-of-00002.gguf -> Q8_0, both parts

Files that belong to every variant (``mmproj``, the projector of a multimodal model; ``imatrix``) are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from glob import escape
from typing import TYPE_CHECKING, Final

from modelfetch.errors import UsageError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import quote, shell_quoted, shell_word
from modelfetch.model.units import format_size
from modelfetch.pins.naming import model_name
from modelfetch.pins.select import split_files

if TYPE_CHECKING:
    from modelfetch.upstreams.base import UpstreamFile

_COMPANION: Final = re.compile(r"mmproj|imatrix", re.IGNORECASE)
"""Names of files that are no variant: projectors, and the statistics that a quantization was made with."""
_USUAL: Final = "q4_k_m"
"""The quantization that examples show if there is one: the default of most programs that run GGUF files."""
_QUANTIZATION: Final = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q|TQ)\d(?:_[A-Z0-9]+)*|B?F(?:16|32)|FP16|MXFP4(?:_MOE)?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""Names of quantizations, as llama.cpp writes them (``Q4_K_M``, ``IQ2_XXS``, ``BF16``)."""

_MOST: Final = 200
"""Variants that are listed, and for which short patterns are looked for; repositories have up to fifty. A
repository of 20,000 would fill the terminal, and comparing each with all paths takes minutes."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several files with the same weights, or all parts of it."""

    label: str
    """The quantization if its path names one, else the file's name."""
    pattern: str
    """An ``--include`` pattern that matches this variant and no other."""
    paths: tuple[str, ...]
    size: int | None
    """Bytes of all parts; None if the hub does not state them."""


class VariantsError(UsageError):
    """A repository has several variants, and none was chosen.

    Attributes:
        variants: What there is to choose from.
    """

    def __init__(
        self, reference: str, variants: Sequence[Variant], companions: Sequence[str] = (), repo: str = ""
    ) -> None:
        self.variants = tuple(variants)
        lines = [f"  {line}" for line in variant_lines(variants[:_MOST])]
        lines += [f"  and {len(variants) - _MOST} more"] if len(variants) > _MOST else []
        lines += [f"  {line}" for line in beside(companions)]
        example = next((each for each in variants if each.label.casefold() == _USUAL), variants[0])
        name = f" --name {model_name(repo, example.label)}" if repo else ""
        super().__init__(
            "\n".join([f"{reference} has {len(variants)} variants; choose one:", *lines]),
            hint=f"For example: `modelfetch add {shell_word(reference)} "
            f"--include {shell_quoted(example.pattern)}{name}`.",
        )


def variants_of(files: Iterable[UpstreamFile]) -> list[Variant]:
    """Find the variants among the files of a repository, smallest first; empty if there are no GGUF files."""
    found = [file for file in files if file.path.lower().endswith(".gguf")]
    found = [file for file in found if not _COMPANION.search(file.path.rpartition("/")[2])]
    split = [parts.files for parts in split_files(found)]
    in_parts = {file.path for parts in split for file in parts}
    groups = [*split, *((file,) for file in found if file.path not in in_parts)]
    everything = [file.path for file in found] if len(groups) <= _MOST else []
    variants = [_variant(group, everything) for group in groups]
    return sorted(variants, key=lambda variant: (variant.size is None, variant.size or 0, variant.label))


def companions_of(files: Iterable[UpstreamFile]) -> list[str]:
    """Return the paths of projectors, which a multimodal model needs beside any variant."""
    return [
        file.path for file in files if "mmproj" in file.path.lower() and file.path.lower().endswith(".gguf")
    ]


def beside(companions: Sequence[str]) -> list[str]:
    """Return a line about projectors, if there are any."""
    if not companions:
        return []
    names = ", ".join(map(quote, companions[:3]))
    return [f"for images the model also needs a projector (--include {quote('*mmproj*')}): {names}"]


def variant_lines(variants: Sequence[Variant]) -> list[str]:
    """Return a line for each variant: its label and its size, in columns."""
    sizes = [shown_size(variant) for variant in variants]
    label, size = (max(map(len, column)) for column in ([each.label for each in variants], sizes))
    # Sizes are aligned at the right end, unless some are followed by a number of parts.
    align = ">" if all(len(variant.paths) == 1 for variant in variants) else "<"
    return [
        f"{variant.label:<{label}}  {text:{align}{size}}".rstrip()
        for variant, text in zip(variants, sizes, strict=True)
    ]


def shown_size(variant: Variant) -> str:
    """The size of a variant for a list, with the number of its parts."""
    size = "size unknown" if variant.size is None else format_size(variant.size)
    return f"{size} in {len(variant.paths)} parts" if len(variant.paths) > 1 else size


def _variant(group: Sequence[UpstreamFile], everything: Sequence[str]) -> Variant:
    paths = tuple(file.path for file in group)
    sizes = [file.size for file in group]
    size = None if None in sizes else sum(size or 0 for size in sizes)
    quantization = _quantization(paths[0])
    label = quantization or paths[0].rpartition("/")[2]
    return Variant(label, _pattern(quantization, paths, everything), paths, size)


def _quantization(path: str) -> str:
    """The last quantization that a file's name mentions, else that of its directories; or empty."""
    for part in reversed(path.split("/")):
        if named := _QUANTIZATION.findall(part):
            return str(named[-1])
    return ""


def _pattern(quantization: str, paths: Sequence[str], everything: Sequence[str]) -> str:
    """The short pattern if it matches this variant alone (``Q4_K`` also matches ``Q4_K_M``), else a path.

    Args:
        quantization: The label; empty if no quantization is named.
        paths: The paths of the variant.
        everything: Those of all variants; none if they are too many to compare with.
    """
    short = f"*{quantization}*"
    if quantization and {path for path in everything if fnmatchcase(path, short)} == set(paths):
        return short
    return escape(paths[0])
