"""modelfetch without some of what makes it fast: ``python -P without.py NAME[,NAME] ARGUMENT...``.

The program has no switch for these, and needs none: each is changed in its module as soon as that is loaded,
so that nothing is loaded earlier than it would be, or at all. Run by the interpreter modelfetch is installed
for; a name that is gone from its module ends the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

Change = tuple[str, str, Callable[[Any], Any]]
"""A module, a name in it, and what that becomes; the function is given the module."""


def main(names: str, arguments: list[str]) -> None:
    """Run the command without the fast paths of these names, separated by commas."""
    sys.meta_path.insert(0, Finder(CHANGES[name] for name in names.split(",")))
    sys.argv = ["modelfetch", *arguments]
    from modelfetch.__main__ import main as run

    run()


class Finder:
    """Finds the modules that are to be changed, before anybody else does."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = list(changes)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks; None leaves the module to others."""
        changes = [change for change in self._changes if change[0] == name]
        if not changes:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin, changes)
        return spec


class Loader(SourceFileLoader):
    """Loads a module as always, then changes some of its names."""

    def __init__(self, name: str, path: str, changes: Sequence[Change]) -> None:
        super().__init__(name, path)
        self._changes = changes

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and make the changes before anybody can import from it."""
        super().exec_module(module)
        for change in self._changes:
            apply(change, module)


def apply(change: Change, module: ModuleType) -> None:
    """Make a change.

    Raises:
        AttributeError: The module has no such name.
    """
    _, name, make = change
    getattr(module, name)
    setattr(module, name, make(module))


def _never_direct(assemble: Any) -> Any:
    from dataclasses import replace

    limits = assemble._limits
    return lambda network: replace(limits(network), direct_from=float("inf"))


def _at_once(tls: Any) -> Any:
    class Trust(tls.Trust):  # type: ignore[misc]  # whose module is known when it is loaded
        def start(self) -> None:
            super().start()
            if self._thread is not None:
                self._thread.join()

    return Trust


def _never_locked(lazy_files: Any) -> Any:
    class LazyFiles(lazy_files.LazyFiles):  # type: ignore[misc]
        is_locked = False

    return LazyFiles


def _standard_dataclass(module: Any) -> Any:
    from dataclasses import dataclass, field, replace

    module.field, module.replace = field, replace
    return dataclass


CHANGES: Mapping[str, Change] = {
    "socket": ("modelfetch.engine.setup", "_limits", _never_direct),
    "large-buffers": ("modelfetch.net.large_reads", "LARGE_BYTES", lambda direct: direct.BUFFER_BYTES),
    "few-reads": ("modelfetch.net.large_reads", "WAKE_BYTES", lambda _: 1),
    "hash-from-memory": ("modelfetch.store.lazy_files", "LazyFiles", _never_locked),
    "hashing-threads": ("modelfetch.store.hashing", "THREADS", lambda _: 0),
    "batch": ("modelfetch.engine.batch", "FEWEST", lambda _: sys.maxsize),
    "direct": ("modelfetch.net.session", "parse_target", lambda _: lambda url: None),
    "heads": ("modelfetch.net.response_heads", "_parse_ordinary", lambda _: lambda data: None),
    "verify-threads": ("modelfetch.engine.verify", "THREADS", lambda _: 1),
    "warm": ("modelfetch.warm", "answer", lambda _: lambda *arguments: None),
    "typer": ("modelfetch.cli.entry", "_run_plain", lambda _: lambda *arguments: None),
    "plain-toml": ("modelfetch.model.plain_toml", "parse_plain", lambda _: lambda text: None),
    "trust": ("modelfetch.net.tls", "Trust", _at_once),
    "dataclasses": ("modelfetch.lazy_dataclass", "dataclass", _standard_dataclass),
    "quick-exit": ("modelfetch.cli.entry", "_exit_now", lambda _: sys.exit),
}
"""What is switched off, by the name it goes by in ``ablation.py``."""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
