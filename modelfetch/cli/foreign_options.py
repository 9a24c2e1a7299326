"""Hints for options that a command does not have, mostly those of other downloaders.

``hf download`` has ``--local-dir`` and ``--revision``, ``ollama`` and ``wget`` have others. An option of the
same meaning is suggested if the command has one; else the hint says how modelfetch does it::

    modelfetch ensure hf:org/repo --local-dir x     Did you mean --to?
    modelfetch ensure hf:org/repo --revision v1     Write it in the reference: hf:ORG/REPO@v1.

This module is imported only after such an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

_SAME: Final[Mapping[str, str]] = {
    "--local-dir": "--to",
    "--output": "--to",
    "--output-dir": "--to",
    "--dest": "--to",
    "--dir": "--to",
    "-o": "--to",
    "-O": "--to",
    "-P": "--to",
    "--max-workers": "--files",
    "--jobs": "--files",
    "-j": "--files",
    "--force-download": "--force",
    "-f": "--force",
    "--local-files-only": "--offline",
    "--local": "--offline",
    "--branch": "--revision",
    "--tag": "--revision",
    "--commit": "--revision",
    "--rev": "--revision",
    "--allow-patterns": "--include",
    "--ignore-patterns": "--exclude",
    "--filter": "--include",
    "-n": "--dry-run",
    "--silent": "--quiet",
    "--format": "--json",
    "--cache": "--cache-dir",
    "--rate": "--limit-rate",
    "--max-speed": "--limit-rate",
    "--host": "--server",
    "--fix": "--repair",
    "--no-dry-run": "--dry-run",
    "--debug": "--verbose",
    "--trace": "--verbose",
}
"""Options of other tools, and those of modelfetch with the same meaning."""

_SELECTION: Final = "A selection is a model of its own: `modelfetch add REF --include GLOB --name NAME`."
_INSTEAD: Final[Mapping[str, str]] = {
    "--to": "`modelfetch ensure NAME --to DIR` places the files in a directory.",
    "--revision": "Write it in the reference, as in hf:ORG/REPO@REV.",
    "--include": _SELECTION,
    "--exclude": _SELECTION,
    "--repo-type": "Write it in the reference: hf:datasets/ORG/REPO or hf:spaces/ORG/REPO.",
    "--repo-id": "Write it as the reference: hf:ORG/REPO.",
    "--model": "Write it as the reference, such as hf:ORG/REPO or ms:ORG/REPO.",
    "--name": "`modelfetch add REF --name NAME` chooses the name.",
    "--token": "Set HF_TOKEN (or run `hf auth login`); for other hubs MODELSCOPE_API_TOKEN or GITHUB_TOKEN.",
    "--endpoint": "Set HF_ENDPOINT or MODELSCOPE_ENDPOINT.",
    "--force": "`modelfetch upgrade NAME` moves a pin, `modelfetch remove NAME --unpin` removes it.",
    "--resume": "Downloads are always resumed.",
    "--resume-download": "Downloads are always resumed.",
    "--continue": "Downloads are always resumed.",
    "--proxy": "Set HTTPS_PROXY.",
    "--insecure": "Certificates are always checked; SSL_CERT_FILE names those to trust.",
    "--no-check-certificate": "Certificates are always checked; SSL_CERT_FILE names those to trust.",
    "--dry-run": "`modelfetch plan NAME` shows what `ensure` would do; `add` has --dry-run.",
}
"""What to do instead of an option that the command does not have, nor another one of its meaning."""


def option_hint(option: str, own: Collection[str]) -> str:
    """Say what to use instead of an option.

    Args:
        option: The option as it was typed: ``--local-dir``.
        own: The options that the command has.

    Returns:
        A sentence, or an empty string if nothing is close.
    """
    from difflib import get_close_matches

    same = _SAME.get(option, option)
    if same in own:
        return f"Did you mean {same}?"
    if same in _INSTEAD:
        return _INSTEAD[same]
    # The time of the comparison grows with the square of the length, so a long word is cut first.
    close = get_close_matches(option[:64], [name for name in own if name.startswith("--")], n=1, cutoff=0.7)
    return f"Did you mean {close[0]}?" if close else ""
