"""Replaces the manifest of a pin in the catalog file that it lies in, in one step.

A file that ``add`` wrote is written whole again. A file that a person edited keeps its comments and its
order: only the keys that differ are changed, one by one. Comments of a ``[[files]]`` entry whose file no
longer exists are lost with it; a notice says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelfetch.errors import StoreError, UsageError
from modelfetch.lazy_dataclass import replace
from modelfetch.model.parse import load_manifest
from modelfetch.model.text import sanitize
from modelfetch.model.write import manifest_toml
from modelfetch.settings.replace_file import replace_file

if TYPE_CHECKING:
    from modelfetch.model.manifest import Manifest

_FILES: Final = "files"
COMMENTS_LOST: Final = "comments of files that no longer exist were not kept in {path}"


def rewritten(path: Path, content: bytes, manifest: Manifest) -> tuple[bytes, list[str]]:
    """Return the new content of a manifest's file, and notices for the user.

    Args:
        path: The file, for messages.
        content: What it has now.
        manifest: What it is to say.

    Raises:
        ManifestError: The content is no manifest.
        UsageError: The file cannot be edited without changing its meaning.
    """
    text = content.decode()
    whole = manifest_toml(manifest)
    if text == manifest_toml(load_manifest(path, content)):
        return whole.encode(), []
    import tomlkit

    document = tomlkit.parse(text)
    wanted = tomlkit.parse(whole)
    _update(document, wanted, skipped=_FILES)
    _update_files(document[_FILES], wanted[_FILES])
    edited = tomlkit.dumps(document)
    if _sorted(load_manifest(path, edited.encode())) != _sorted(manifest):
        # The file uses TOML in a way that such an edit does not survive, such as an inline list of files.
        raise UsageError(
            f"{sanitize(str(path))} cannot be edited without losing something",
            hint="Move the pin by hand: `modelfetch upgrade --dry-run --json` shows what it would be.",
        )
    is_lost = _comments(edited) < _comments(text)
    return edited.encode(), [COMMENTS_LOST.format(path=sanitize(str(path)))] if is_lost else []


def _update(table: Any, wanted: Any, skipped: str = "") -> None:
    """Make a table equal to another one; what is equal already is not touched, so its comments stay."""
    for key in [key for key in table if key not in wanted]:
        del table[key]
    for key, value in wanted.items():
        before = table.get(key)
        if before == value or key == skipped:
            continue
        if hasattr(before, "items") and hasattr(value, "items"):
            _update(before, value)
        else:
            table[key] = value


def _update_files(entries: Any, wanted: Any) -> None:
    """Update the entries of files by path; those of new files come last."""
    by_path = {entry["path"]: entry for entry in wanted}
    for number in reversed(range(len(entries))):
        value = by_path.pop(entries[number]["path"], None)
        if value is None:
            del entries[number]
        else:
            _update(entries[number], value)
    for value in by_path.values():
        entries.append(value)


def _sorted(manifest: Manifest) -> Manifest:
    return replace(manifest, files=tuple(sorted(manifest.files, key=lambda file: file.path)))


def _comments(text: str) -> int:
    """Count the lines that are comments."""
    return sum(line.lstrip().startswith("#") for line in text.splitlines())


def replace_unchanged(path: Path, before: bytes, after: bytes) -> None:
    """Replace a manifest in one step, unless another program changed it since it was read.

    Args:
        path: The file; of a symbolic link the target is replaced.
        before: What it had when it was read.
        after: The new content.

    Raises:
        UsageError: Another program changed the file meanwhile.
        StoreError: The disk refused.
    """
    try:
        if path.read_bytes() != before:
            raise UsageError(
                f"{sanitize(str(path))} was changed meanwhile", hint="Nothing was changed: run it again."
            )
        replace_file(path, after)
    except OSError as error:
        raise StoreError(
            f"{sanitize(str(path))} cannot be written: {error.strerror}",
            hint="Correct its permissions, or move the pin in a catalog of your own.",
        ) from error
