"""``doctor``: find out why a fetch fails, by checks of hosts, of the cache's disk and of the environment.

The findings are made in :mod:`modelfetch.doctor`; here they are shown: a block for each area, a row for each
check, and below a failure or warning what to do. The layers of a host that were not reached share one row::

    models.example.org: fails at tcp
      ok       dns  1 address (IPv4)
      FAILURE  tcp  connection refused (models.example.org)
                    -> Check that the host is up, and that no firewall blocks the connection.
      -             not reached: proxy, tls, http, clock, ranges, speed
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from modelfetch.cli import options
from modelfetch.cli.output import print_json, print_line
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize

if TYPE_CHECKING:
    from modelfetch.doctor.findings import Finding
    from modelfetch.model.manifest import Manifest
    from modelfetch.workspace import Workspace

EXIT_FAILURES = 1
"""Exit code if a check failed."""
_WORDS: Final = {
    "ok": "ok",
    "warning": "warning",
    "failure": "FAILURE",
    "not_reached": "-",
    "skipped": "-",
}
_STYLES: Final = {
    "ok": "green",
    "warning": "yellow",
    "failure": "bold red",
    "not_reached": "dim",
    "skipped": "dim",
    "area": "bold",
}


def doctor(
    name: options.OptionalName = None,
    offline: Annotated[bool, typer.Option("--offline", help="Contact no host.")] = False,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Find out why a fetch fails: check hosts, disk and settings.

    Each host is checked layer by layer. Exits with 1 if a check failed. Stores nothing.
    """
    from modelfetch.cli.pinning import names_of
    from modelfetch.doctor.findings import counts, masked
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifests = workspace.manifests(names_of(workspace, [name])) if name else []
    offline = offline or workspace.loaded.offline
    findings = [masked(finding) for finding in _all_findings(workspace, manifests, offline=offline)]
    found = counts(findings)
    if json:
        print_json({"findings": [finding.document for finding in findings], "counts": found})
    else:
        _print(findings, found)
    if found["failure"]:
        raise typer.Exit(EXIT_FAILURES)


def _all_findings(workspace: Workspace, manifests: Sequence[Manifest], *, offline: bool) -> list[Finding]:
    from modelfetch.doctor.disk_checks import check_disk
    from modelfetch.doctor.disk_findings import disk_findings
    from modelfetch.doctor.environment import environment_findings
    from modelfetch.doctor.findings import NETWORK, Finding, State

    def needed() -> int:
        missing = [manifest for manifest in manifests if not workspace.is_present(manifest)]
        return sum(file.size for manifest in missing for file in manifest.files)

    disk = check_disk(workspace.loaded.cache_dir, needed=needed, doubt=lambda: workspace.doubt)
    others = [*disk_findings(disk), *environment_findings(workspace, has_disk=not disk.is_late)]
    if offline:
        message = "offline: no host was contacted"
        return [Finding(NETWORK, "hosts", State.SKIPPED, message), *others]
    return [*_host_findings(workspace, manifests), *others]


def _host_findings(workspace: Workspace, manifests: Sequence[Manifest]) -> list[Finding]:
    from modelfetch.doctor.findings import NETWORK, Finding, State
    from modelfetch.doctor.host_checks import check_hosts
    from modelfetch.doctor.host_findings import host_findings

    reports, left_out = check_hosts(workspace, manifests)
    found = [finding for report in reports for finding in host_findings(report)]
    if left_out:
        found.append(Finding(NETWORK, "hosts", State.SKIPPED, f"{left_out} more hosts were not contacted"))
    return found


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the report; on a terminal its text is wrapped behind its label."""

    label: str
    text: str = ""
    state: str = ""
    """That of the finding in it, which chooses the color; empty for a hint."""


def _print(findings: Sequence[Finding], found: Mapping[str, int]) -> None:
    """Print a block for each area, then a summary in one line."""
    from modelfetch.reporters import can_draw

    draw = _draw if can_draw(sys.stdout, os.environ) else _write
    for area in dict.fromkeys(finding.area for finding in findings):
        draw(list(_block(area, [finding for finding in findings if finding.area == area])))
        print_line("")
    draw([_Line("", _summary(findings, found))])


def _block(area: str, findings: Sequence[Finding]) -> Iterator[_Line]:
    from modelfetch.doctor.findings import first_failure
    from modelfetch.reporters import symbols_for

    failed = first_failure(findings, area)
    yield _Line(f"{area}: fails at {failed}" if failed else area, state="failure" if failed else "area")
    arrow = symbols_for(sys.stdout.encoding).arrow
    width = max(len(finding.check) for finding in findings)
    for state, check, message, hint in _rows(findings):
        yield _Line(f"  {_WORDS[state]:<7}  {check:<{width}}  ", message, state)
        if hint:
            yield _Line(f"{' ' * (width + 13)}{arrow} ", hint)


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[str, str, str, str]]:
    """State, check, message and hint of each row; layers that were not reached share one."""
    unreached = [finding.check for finding in findings if finding.state.value == "not_reached"]
    for finding in findings:
        if finding.state.value != "not_reached":
            yield finding.state.value, finding.check, finding.message, finding.hint
    if unreached:
        yield "not_reached", "", f"not reached: {', '.join(unreached)}", ""


def _write(lines: Sequence[_Line]) -> None:
    for line in lines:
        print_line(f"{line.label}{line.text}")


def _draw(lines: Sequence[_Line]) -> None:
    """Print lines on a terminal, wrapped between words, with colors unless ``NO_COLOR`` is set."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    for line in lines:
        if not line.text or not line.label:
            console.print(Text(sanitize(line.label or line.text), _STYLES.get(line.state, "")))
            continue
        row = Table.grid()
        row.add_column(no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(Text(sanitize(line.label), _STYLES.get(line.state, "")), Text(sanitize(line.text)))
        console.print(row)


def _summary(findings: Sequence[Finding], found: Mapping[str, int]) -> str:
    """The numbers of failures and warnings, and where each area that failed failed first."""
    from modelfetch.doctor.findings import first_failure
    from modelfetch.reporters.terminal_text import plural

    areas = dict.fromkeys(finding.area for finding in findings)
    failed: dict[str, list[str]] = {}
    for area in areas:
        if check := first_failure(findings, area):
            failed.setdefault(check, []).append(area)
    places = [
        f"{each[0]}{f' and {len(each) - 1} more' if len(each) > 1 else ''} at {check}"
        for check, each in failed.items()
    ]
    numbers = f"{plural(found['failure'], 'failure')}, {plural(found['warning'], 'warning')}"
    return f"{numbers}: {', '.join(places)}" if places else numbers
