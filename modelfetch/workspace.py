"""Settings, catalogs and cache together: where commands, the server and the Python interface start.

A :class:`Workspace` finds models, starts runs of the engine, and gives access to the history:

    >>> workspace = Workspace.open()
    >>> for event in workspace.ensure(workspace.manifests(["demo"]), EnsureOptions()):   # doctest: +SKIP
    ...     print(event)

The engine, and HTTP with it, is imported only when a run starts, because half of all commands start none and
are faster without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelfetch import tracing
from modelfetch.catalog import Catalog
from modelfetch.errors import ModelfetchError, UnknownModelError, UsageError
from modelfetch.lazy_dataclass import dataclass, field, replace
from modelfetch.model.manifest import Manifest
from modelfetch.model.text import sanitize
from modelfetch.notices import Notices
from modelfetch.settings import Loaded, load
from modelfetch.settings.config_files import trusted_owners
from modelfetch.settings.locations import working_directory
from modelfetch.store import Store
from modelfetch.warm import circumstances, count, doubt_about

if TYPE_CHECKING:
    from modelfetch.cancel import Cancellation
    from modelfetch.engine.events import Event, Planned
    from modelfetch.engine.options import EnsureOptions
    from modelfetch.engine.runtime import Runtime
    from modelfetch.engine.setup import Attached, RunOptions
    from modelfetch.history import AttemptRow, History
    from modelfetch.reporters.history_rows import HistoryRows
    from modelfetch.reporters.recorder import Recorder
    from modelfetch.store import Consulted, Removal

_RISK: Final = "verified files (see Shared caches in docs/reference/cache.md)"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings and catalogs as they apply in one directory and environment."""

    loaded: Loaded
    catalog: Catalog
    is_here: bool = False
    """Whether it was opened for this process's own environment and directory, which the next command
    shares."""
    notices: Notices = field(default_factory=Notices)
    """Notices for the user that come up during a run."""

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
        environment = os.environ if environ is None else environ
        loaded = load(
            flags=flags or {},
            environ=environment,
            cwd=working_directory() if cwd is None else cwd,
        )
        catalog = _catalog(loaded, environment)
        if tracing.active is not None:
            from modelfetch.opening_report import report_opening

            report_opening(tracing.active, loaded, catalog.consulted)
        return cls(loaded, catalog, is_here=environ is None and cwd is None)

    def relisted(self) -> Workspace:
        """Return this workspace with its catalogs listed again, as another process may have changed them.

        Raises:
            ConfigError: A named catalog is wrong.
        """
        return replace(self, catalog=_catalog(self.loaded, os.environ))

    @property
    def opening_notices(self) -> tuple[str, ...]:
        """Notices for the user about settings, catalogs and the models looked up so far; a line each."""
        return (*self.loaded.notices, *self.catalog.notices)

    @property
    def store(self) -> Store:
        """The cache."""
        root, cache = self.loaded.cache_dir, self.loaded.settings.cache
        return Store(root, fsync=cache.fsync, notices=self.notices, chunk_maps=cache.chunk_maps)

    @property
    def doubt(self) -> str:
        """One line on why the cache cannot be trusted, or empty; see :func:`modelfetch.warm.doubt`."""
        root = self.loaded.cache_dir
        clause = doubt_about(os.fspath(root))
        return (
            clause
            and f"the cache {sanitize(str(root))} {clause}: users who can write to it can replace {_RISK}"
        )

    @property
    def consulted(self) -> tuple[Consulted, ...]:
        """The state of every file that decided what the models are: catalogs and settings."""
        return tuple(map(self.store.consult, (*self.loaded.consulted, *self.catalog.consulted)))

    def manifests(self, names: Sequence[str]) -> list[Manifest]:
        """The manifests of the named models, or of the project's when none is named; each once.

        Raises:
            UsageError: No name is given and no project names any.
            UnknownModelError: No catalog has a model of this name.
            ManifestError: A manifest is wrong.
        """
        try:
            found = [self.catalog.get(name) for name in names or self._wanted]
        except (UsageError, UnknownModelError) as error:
            if notes := self._passed_over:  # the missing model may be in a file that was not read
                raise type(error)("\n".join([error.message, *notes]), hint=error.hint) from error
            raise
        return list({manifest.name: manifest for manifest in found}.values())

    @property
    def _wanted(self) -> tuple[str, ...]:
        """The models of the project."""
        if self.loaded.models:
            return self.loaded.models
        hint = 'Name one (`modelfetch list` shows them), or put models = ["..."] into modelfetch.toml.'
        raise UsageError("no model is named", hint=hint)

    @property
    def _passed_over(self) -> list[str]:
        return [f"note: {notice}" for notice in (*self.loaded.passed_over, *self.catalog.passed_over)]

    def present(self) -> list[Manifest]:
        """Every model that has a receipt; the catalog's manifest where it pins the same files."""
        return [self._manifest_of(receipt.manifest()) for receipt in self.store.receipts()]

    def _manifest_of(self, present: Manifest) -> Manifest:
        known = self._known(present.name)
        if known is None:
            return present  # no catalog has it any more; the receipt is enough to verify it
        return known if (known.version, known.identity) == (present.version, present.identity) else present

    def _known(self, name: str) -> Manifest | None:
        try:
            return self.catalog.get(name)
        except ModelfetchError:
            return None

    def history(self) -> History:
        """Open the history of earlier runs; the caller closes it."""
        from modelfetch.history import FILE, History

        return History(self.loaded.cache_dir / FILE, days=self.loaded.settings.history.days)

    def recorder(self) -> Recorder:
        """Make the reporter that records one run in the history."""
        from modelfetch.reporters.recorder import Recorder

        def begin() -> HistoryRows:
            from modelfetch.reporters.history_rows import HistoryRows

            return HistoryRows(self.history(), self._known)

        def found(directories: list[str]) -> None:
            count(str(self.loaded.cache_dir), directories, create=True)

        return Recorder(begin, found if self.loaded.settings.history.days else None)

    def attempts(self, history: History, since: datetime | None = None) -> list[AttemptRow]:
        """The attempts of every run, in the order in which they ended.

        Runs that found everything present are counted in the cache, and are not in the history.

        Args:
            history: Holds all other attempts.
            since: The earliest time; None for all attempts in the history.
        """
        from modelfetch.history.metrics import attempts_of

        days = timedelta(days=self.loaded.settings.history.days)
        oldest = datetime.now(UTC) - days if since is None else since
        hits = attempts_of(self.store.hits(), self.store.receipts(), oldest) if days else ()
        rows = history.attempts(since=since)
        return list(merge(rows, hits, key=lambda row: row.started_at + timedelta(seconds=row.seconds)))

    def reset_metrics(self, history: History) -> int:
        """Delete every attempt, and with them all metrics and the health of every host. Runs stay.

        Returns:
            The number of deleted attempts.

        Raises:
            StoreError: The disk refused.
        """
        forgotten = len(self.attempts(history))
        history.reset()
        self.store.forget_hits()
        if self.loaded.settings.history.days:
            count(str(self.loaded.cache_dir), [], create=True)
        return forgotten

    def is_present(self, manifest: Manifest, store: Store | None = None) -> bool:
        """Whether a model is present: it has a receipt, and the stat of every file agrees with it.

        Args:
            manifest: The model.
            store: The cache, for callers that examine many models; it remembers the receipts.
        """
        store = store or self.store
        receipt = store.receipt(manifest)
        return receipt is not None and all(store.kept(manifest, receipt).values())

    def remove(
        self, name: str, version: str | None = None, *, dry_run: bool, earlier: Sequence[Removal] = ()
    ) -> Removal:
        """Remove a model from the cache; see :meth:`modelfetch.store.Store.remove`.

        Args:
            name: The model.
            version: Name of the directory of one version; None for all.
            dry_run: Whether nothing is removed.
            earlier: Removals that a dry run takes as done.

        Raises:
            UnknownModelError: The name is neither in the cache nor in a catalog.
        """
        manifest = self._known(name)
        model = manifest.name if manifest is not None else name
        # Another version's downloads stay.
        files = manifest.files if manifest is not None and version in (None, manifest.version) else ()
        removal = self.store.remove(model, files, version=version, dry_run=dry_run, earlier=earlier)
        if manifest is None and not (removal.versions or self.store.has_model(model)):
            self.catalog.get(name)  # raises, with a suggestion
        return removal

    def plan(self, manifests: Iterable[Manifest], options: RunOptions) -> Iterator[Planned]:
        """What ensure would do for each model. Writes nothing and makes no request.

        Raises:
            UsageError: An option names no kind of source.
        """
        from modelfetch.engine.plan import planned, take_inventory

        runtime = self._runtime(options)
        return (planned(runtime, take_inventory(runtime, manifest)) for manifest in manifests)

    def ensure(
        self,
        manifests: Sequence[Manifest],
        options: EnsureOptions,
        *,
        cancel: Cancellation | None = None,
    ) -> Generator[Event, None, None]:
        """Make models present and verified; see :func:`modelfetch.engine.ensure.ensure`.

        Args:
            manifests: The models.
            options: What the run is asked for. Its settings were used when this workspace was opened.
            cancel: Ends the run from another thread; closing the iterator ends it from this one.

        Raises:
            UsageError: An option names no kind of source, or files cannot go where options want them.
        """
        from modelfetch.engine.ensure import ensure
        from modelfetch.engine.options import Request

        request = Request(manifests, options, self.loaded.hf_cache)
        request.export.check(manifests, self.store)
        run = options.run
        if _has_demo(manifests):  # one connection, so that a person can follow its cut and its fallback
            run = replace(run, connections=1)
        runtime = self._runtime(run, cancel, options.attached)

        def start(addressed: Sequence[Manifest]) -> Iterator[Event]:
            wanted = replace(
                request,
                manifests=addressed,
                consulted=self.consulted,
                circumstances=self._circumstances,
            )
            return ensure(runtime, wanted)

        return _run(runtime, manifests, start)

    def verify(
        self,
        manifests: Sequence[Manifest],
        options: RunOptions,
        *,
        quick: bool = False,
        repair: bool = False,
        strict: bool = False,
        sample: int = 0,
        cancel: Cancellation | None = None,
    ) -> Generator[Event, None, None]:
        """Check models, and repair them if asked; see :func:`modelfetch.engine.verify.verify`.

        Args:
            manifests: The models.
            options: What the run is asked for.
            quick: Whether to read only files whose stat changed since they were verified.
            repair: Whether to fetch bad and missing files again.
            strict: Whether files that a manifest does not list are failures.
            sample: How many chunks of each file to read; 0 for all.
            cancel: As for :meth:`ensure`.

        Raises:
            UsageError: An option names no kind of source.
        """
        from modelfetch.engine.verify import VerifyRequest, verify

        runtime = self._runtime(options, cancel)

        def start(addressed: Sequence[Manifest]) -> Iterator[Event]:
            request = VerifyRequest(
                addressed if repair else manifests,
                quick=quick,
                repair=repair,
                strict=strict,
                sample=sample,
                consulted=self.consulted,
            )
            return verify(runtime, request)

        return _run(runtime, manifests if repair else (), start)

    @property
    def _circumstances(self) -> list[str]:
        """What the fast answer of :mod:`modelfetch.warm` depends on; empty where it must not be given.

        That answer prints no notices, but every run must print that a project's catalog replaced a name.
        """
        try:
            return circumstances() if self.is_here and not self.catalog.taken_over else []
        except OSError:  # the working directory is gone
            return []

    def _runtime(
        self, options: RunOptions, cancel: Cancellation | None = None, attached: Attached | None = None
    ) -> Runtime:
        from modelfetch.cancel import Cancellation
        from modelfetch.engine.setup import assemble

        asked = replace(options, offline=options.offline or self.loaded.offline)
        foreign, cancel = self.catalog.of_project(), cancel or Cancellation()
        return assemble(self.loaded, asked, cancel, attached=attached, foreign=foreign, notices=self.notices)


def _run(
    runtime: Runtime, manifests: Sequence[Manifest], start: Callable[[Sequence[Manifest]], Iterator[Event]]
) -> Generator[Event, None, None]:
    """Run, with the embedded origin beside it if a model needs one; then close connections and files."""
    try:
        if _has_demo(manifests):
            from modelfetch.demo import serving

            with serving(manifests) as addressed:
                yield from start(addressed)
        else:
            yield from start(manifests)
    finally:
        runtime.close()
        runtime.store.close()


def _has_demo(manifests: Sequence[Manifest]) -> bool:
    """Whether the built-in demo is among the models; loads it only for a model of that name."""
    if not any(manifest.name == "demo" for manifest in manifests):
        return False
    from modelfetch.demo import has_demo

    return has_demo(manifests)


def _catalog(loaded: Loaded, environ: Mapping[str, str]) -> Catalog:
    return Catalog.open(
        user=loaded.catalog_user,
        project=loaded.catalog_project,
        environment=loaded.catalog_environment,
        owners=trusted_owners(environ),
    )
