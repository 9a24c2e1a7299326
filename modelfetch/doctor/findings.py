"""What a diagnosis consists of: one finding for each check, with its state and what to do.

A finding belongs to an area: a host, ``disk`` or ``environment``. Within a host the checks are its layers, in
the order in which they are reached, for example::

    models.example.org  dns     ok           2 addresses (IPv4, IPv6)
    models.example.org  tcp     failure      connection refused
    models.example.org  http    not reached
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from modelfetch.lazy_dataclass import dataclass, replace
from modelfetch.settings.text_redaction import redact_text


class State(StrEnum):
    """The result of one check; the value is that of ``state`` in JSON."""

    OK = "ok"
    WARNING = "warning"
    """It works, but slower, with less protection, or not for everything."""
    FAILURE = "failure"
    """Something that was asked for cannot work until it is corrected."""
    NOT_REACHED = "not_reached"
    """An earlier layer of the same host failed."""
    SKIPPED = "skipped"
    """It was not checked, for the reason in the message."""


DISK: Final = "disk"
"""The area of the cache's disk."""
ENVIRONMENT: Final = "environment"
"""The area of settings, variables, Python and catalogs."""
NETWORK: Final = "network"
"""The area in place of hosts, if none was contacted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. No text contains a secret."""

    area: str
    """A host, or one of the areas above."""
    check: str
    state: State
    message: str
    """What was found; one line."""
    hint: str = ""
    """What to do; one line. Never empty for a warning or a failure."""

    @property
    def document(self) -> dict[str, str]:
        """It as JSON."""
        return {
            "area": self.area,
            "check": self.check,
            "state": self.state.value,
            "message": self.message,
            "hint": self.hint,
        }


def masked(finding: Finding) -> Finding:
    """Mask whatever looks like a secret, also the values of variables such as ``HF_TOKEN``."""
    return replace(finding, message=redact_text(finding.message), hint=redact_text(finding.hint))


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings have each state; 0 for a state that none has."""
    found = Counter(finding.state for finding in findings)
    return {state.value: found[state] for state in State}


def first_failure(findings: Sequence[Finding], area: str) -> str:
    """The first check of an area that failed; empty if none did."""
    failed = (each.check for each in findings if each.area == area and each.state is State.FAILURE)
    return next(failed, "")
