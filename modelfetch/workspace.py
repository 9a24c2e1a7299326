"""Where commands and the Python interface start: settings, catalogs and cache, found together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelfetch.catalog import Catalog
from modelfetch.engine.assemble import RunOptions, assemble
from modelfetch.engine.ensure import Request, ensure
from modelfetch.engine.events import Event, Planned
from modelfetch.engine.obtain import Mode
from modelfetch.engine.plan import planned, take_inventory
from modelfetch.engine.runtime import Runtime
from modelfetch.engine.verify import VerifyRequest, verify
from modelfetch.errors import ModelfetchError, UsageError
from modelfetch.model.manifest import Manifest
from modelfetch.net.cancel import Cancellation
from modelfetch.settings import Loaded, load
from modelfetch.store import Consulted, Removal, Store


@dataclass(frozen=True)
class Workspace:
    """Settings and catalogs as they hold in one directory and environment."""

    loaded: Loaded
    catalog: Catalog

    @classmethod
    def open(
        cls,
        flags: Mapping[str, object] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Workspace:
        """Read settings and list catalogs.

        Raises:
            ConfigError: A setting or a named catalog is wrong.
        """
        loaded = load(
            flags=flags or {},
            environ=os.environ if environ is None else environ,
            cwd=Path.cwd() if cwd is None else cwd,
        )
        catalog = Catalog.open(
            user=loaded.catalog_user,
            project=loaded.catalog_project,
            environment=loaded.catalog_environment,
        )
        return cls(loaded, catalog)

    @property
    def store(self) -> Store:
        """The cache."""
        return Store(self.loaded.cache_dir, fsync=self.loaded.settings.cache.fsync)

    @property
    def consulted(self) -> tuple[Consulted, ...]:
        """Every file that decided what the models are, as it looks now."""
        return tuple(map(self.store.consult, (*self.loaded.consulted, *self.catalog.consulted)))

    def manifests(self, names: Sequence[str]) -> list[Manifest]:
        """The manifests of the named models, else of the project's; each once.

        Raises:
            UsageError: No name is given and no project names any.
            UnknownModelError: No catalog has a model of this name.
            ManifestError: A manifest is wrong.
        """
        wanted = names or self.loaded.models
        if not wanted:
            raise UsageError(
                "no model is named",
                hint='Name one (modelfetch list shows them), or put models = ["..."] into modelfetch.toml.',
            )
        found = [self.catalog.get(name) for name in wanted]
        return list({manifest.name: manifest for manifest in found}.values())

    def present(self) -> list[Manifest]:
        """Every model that has a receipt, as the catalog pins it where that is the same content."""
        return [self._manifest_of(receipt.manifest()) for receipt in self.store.receipts()]

    def _manifest_of(self, present: Manifest) -> Manifest:
        known = self._known(present.name)
        if known is None:
            return present  # no catalog has it any more; the receipt says enough to verify it
        return known if (known.version, known.identity) == (present.version, present.identity) else present

    def _known(self, name: str) -> Manifest | None:
        try:
            return self.catalog.get(name)
        except ModelfetchError:
            return None

    def is_present(self, manifest: Manifest) -> bool:
        """Whether a model is here: it has a receipt, and every file looks as it did then."""
        receipt = self.store.receipt(manifest)
        return receipt is not None and all(self.store.kept(manifest, receipt).values())

    def remove(self, name: str, *, dry_run: bool) -> Removal:
        """Remove every version of a model from the cache; see :meth:`modelfetch.store.Store.remove`.

        Raises:
            UnknownModelError: The name is neither in the cache nor in a catalog.
        """
        manifest = self._known(name)
        model = manifest.name if manifest is not None else name
        removal = self.store.remove(model, manifest.files if manifest is not None else (), dry_run=dry_run)
        if not removal.versions and manifest is None:
            self.catalog.get(name)  # raises, with a suggestion
        return removal

    def plan(self, manifests: Iterable[Manifest], options: RunOptions) -> Iterator[Planned]:
        """What ensure would do for each model. Writes nothing and asks no network."""
        runtime = assemble(self.loaded, self._offline(options), Cancellation())
        for manifest in manifests:
            yield planned(runtime, take_inventory(runtime, manifest))

    def ensure(
        self,
        manifests: Sequence[Manifest],
        options: RunOptions,
        *,
        force: bool = False,
        to: Path | None = None,
    ) -> Iterator[Event]:
        """Make models present and verified; see :func:`modelfetch.engine.ensure.ensure`."""
        from modelfetch.demo import serving  # a server is needed for one model only

        options = self._offline(options)
        with serving(manifests) as addressed:
            request = Request(addressed, Mode(options.offline, force), to, self.consulted)
            yield from self._run(options, lambda runtime: ensure(runtime, request))

    def verify(
        self, manifests: Sequence[Manifest], options: RunOptions, *, quick: bool = False, repair: bool = False
    ) -> Iterator[Event]:
        """Check models, and put right what is wrong; see :func:`modelfetch.engine.verify.verify`."""
        from modelfetch.demo import serving

        options = self._offline(options)
        with serving(manifests if repair else ()) as addressed:
            request = VerifyRequest(
                addressed if repair else manifests,
                quick=quick,
                repair=repair,
                mode=Mode(options.offline),
                consulted=self.consulted,
            )
            yield from self._run(options, lambda runtime: verify(runtime, request))

    def _offline(self, options: RunOptions) -> RunOptions:
        return replace(options, offline=options.offline or self.loaded.offline)

    def _run(self, options: RunOptions, start: Callable[[Runtime], Iterator[Event]]) -> Iterator[Event]:
        runtime = assemble(self.loaded, options, Cancellation())
        try:
            yield from start(runtime)
        finally:
            runtime.close()
