"""Decides what the facts of a host mean, layer by layer. Pure.

The first layer that failed is a failure; the layers behind it are not reached. Of the layers that passed,
some are a warning: a certificate that ends soon, a clock that differs, a server that sends no ranges. For a
host without a file to read, ranges and speed are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from modelfetch.doctor.findings import Finding, State
from modelfetch.errors import SourceError
from modelfetch.lazy_dataclass import dataclass
from modelfetch.model.text import sanitize
from modelfetch.model.units import format_rate, format_size
from modelfetch.net.certificate import Certificate
from modelfetch.net.host_layers import HostFacts, Layer
from modelfetch.net.proxies import Proxy

SKEW_WARNING: Final = timedelta(minutes=5)
"""Difference of the clocks from which ages, health and Retry-After dates of this machine are wrong."""
SKEW_FAILURE: Final = timedelta(days=1)
"""Difference from which valid certificates seem expired, or not yet valid."""
EXPIRY_WARNING: Final = timedelta(days=1)
"""Remaining validity of a certificate that is a warning. Automatic renewal takes place days before, also of
certificates that are valid for six days only."""
_NOT_IMPLEMENTED: Final = 501
"""Answer of a server that does not know HEAD (RFC 9110, 15.6.2), which says nothing about GET."""
_SLOW: Final = 100_000
"""Bytes per second below which a file of 1 GB takes more than two and a half hours."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A part of one file, read from a host in the way of ``ensure``."""

    file: str
    """The path of the file in the model."""
    size: int
    """The size of the file in bytes."""
    error: SourceError | None = None
    """Why it was not served."""
    is_ranged: bool | None = None
    """Whether the host sends parts of files; None for a file that is too small to tell."""
    received: int = 0
    """Bytes that were read."""
    seconds: float = 0.0
    """Time for these bytes, after the first ones arrived."""


@dataclass(frozen=True, slots=True)
class HostReport:
    """Everything that is known of a host."""

    host: str
    """``host[:port]``, as everywhere."""
    kinds: tuple[str, ...]
    """The kinds of source that use it."""
    facts: HostFacts
    sample: Sample | None = None
    """None if no model was named, or this host has no file of it."""


def host_findings(report: HostReport) -> list[Finding]:
    """Return one finding for each layer, in the order in which they are reached."""
    found: list[Finding] = []
    is_failed = False
    for check, decide in _DECISIONS.items():
        if is_failed and not _is_known(check, report.facts):
            state, message, hint = State.NOT_REACHED, "not reached", ""
        else:
            state, message, hint = decide(report)
        # A clock that is wrong does not keep the layers behind it from being reached.
        is_failed |= state is State.FAILURE and check not in ("clock", "ranges")
        found.append(Finding(report.host, check, state, message, hint))
    return _after_bad_proxy(report, found)


def _is_known(check: str, facts: HostFacts) -> bool:
    """Whether a check has a result although an earlier layer failed.

    The variables alone decide that no proxy is used, which may be why a host cannot be reached. The time of a
    host is known from its first answer, also if it does not serve the file afterwards.
    """
    if check == "proxy":
        return not facts.is_proxied
    return check == "clock" and facts.date is not None


_Decision = tuple[State, str, str]
"""State, message, hint."""


def _after_bad_proxy(report: HostReport, found: list[Finding]) -> list[Finding]:
    """If the proxy's address is unusable, nothing was resolved or connected, which is shown before it."""
    if report.facts.failed is not Layer.PROXY or report.facts.addresses:
        return found
    unreached = [Finding(report.host, check, State.NOT_REACHED, "not reached") for check in ("dns", "tcp")]
    return [*unreached, *(each for each in found if each.check not in ("dns", "tcp"))]


def _dns(report: HostReport) -> _Decision:
    facts = report.facts
    if facts.failed is Layer.DNS:
        name = facts.reached_by
        through = f"the proxy {name} of {facts.proxy.variable}: " if facts.proxy is not None else ""
        hint = "Check the name, the network connection, and the name server (/etc/resolv.conf)."
        return State.FAILURE, f"{through}{facts.error}", facts.proxy.hint() if facts.proxy else hint
    number = len(facts.addresses)
    addresses = f"{number} address{'es' * (number != 1)}"
    return State.OK, f"{addresses} ({', '.join(facts.families)}){_of(facts.proxy)}", ""


def _tcp(report: HostReport) -> _Decision:
    facts = report.facts
    if facts.failed is Layer.TCP:
        message = f"{facts.error} ({facts.reached_by}{_of(facts.proxy)})"
        hint = (
            "Check that the host is up, and that no firewall blocks it. You may need a proxy (HTTPS_PROXY)."
        )
        return State.FAILURE, message, facts.proxy.hint() if facts.proxy else hint
    return State.OK, f"{facts.peer} in {1000 * facts.connect_seconds:.0f} ms", ""


def _of(proxy: Proxy | None) -> str:
    return f" of the proxy in {proxy.variable}" if proxy is not None else ""


def _proxy(report: HostReport) -> _Decision:
    facts = report.facts
    if facts.failed is Layer.PROXY:
        variable = f" ({facts.proxy.variable})" if facts.proxy is not None else ""
        return State.FAILURE, f"{facts.error}{variable}", facts.hint or "Check HTTPS_PROXY and NO_PROXY."
    if facts.proxy is None:
        return State.OK, "none for this host", ""
    return State.OK, f"{facts.reached_by}, by {facts.proxy.variable}", ""


def _tls(report: HostReport) -> _Decision:
    facts = report.facts
    if facts.failed is Layer.TLS:
        return State.FAILURE, f"{facts.error}{_issued(facts.certificate)}", _tls_hint(facts)
    if not facts.url.lower().startswith("https:"):
        return State.OK, "not used (http)", ""
    if facts.certificate is None:  # no certificate is needed to read its fields, so this is no failure
        return State.OK, facts.tls_version, ""
    ends = facts.certificate.ends
    message = f"{facts.tls_version}{_issued(facts.certificate)}"
    if ends - (facts.at or datetime.now(UTC)) < EXPIRY_WARNING:
        return State.WARNING, message, f"The certificate ends on {ends:%Y-%m-%d}; its server has to renew it."
    return State.OK, message, ""


def _issued(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    issuer = certificate.issuer or "an unnamed authority"
    return f"; issued by {issuer}, valid until {certificate.ends:%Y-%m-%d}"


def _tls_hint(facts: HostFacts) -> str:
    """What to do about a failure of TLS; the dates of the certificate show whether the clock may be why."""
    now = datetime.now(UTC)
    clock = f"This machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if facts.certificate is not None and facts.certificate.ends < now:
        return f"{clock}; if that is right, the server has to renew its certificate."
    if facts.certificate is not None and facts.certificate.starts > now:
        return f"{clock}; if that is wrong, correct it."
    return facts.hint or "Check the address, and whether a proxy or firewall inspects TLS."


def _http(report: HostReport) -> _Decision:
    facts, sample = report.facts, report.sample
    if facts.failed is Layer.HTTP:
        return State.FAILURE, facts.error, facts.hint or "Try again later, or use another source."
    if sample is not None:
        return _sampled(sample)
    answer = f"{facts.status} in {1000 * facts.answer_seconds:.0f} ms"
    if facts.status is not None and facts.status >= 500 and facts.status != _NOT_IMPLEMENTED:
        return State.FAILURE, answer, "The server fails; try again later, or use another source."
    if facts.status in (401, 403, 429):
        hint = (
            "Only the root address may be affected: run `modelfetch doctor NAME` with a model of that host."
        )
        return State.WARNING, answer, hint
    return State.OK, answer, ""


def _sampled(sample: Sample) -> _Decision:
    error = sample.error
    if error is None:
        return State.OK, f"serves {sanitize(sample.file)} ({format_size(sample.size)})", ""
    where = f" at {error.elsewhere}, to which it redirects" if error.elsewhere else ""
    message = f"{sanitize(sample.file)}: {error.message}{where}"
    return State.FAILURE, message, error.hint or "Use another source, or try again later."


def _clock(report: HostReport) -> _Decision:
    facts = report.facts
    if facts.date is None or facts.at is None:
        return State.SKIPPED, "the host states no time", ""
    skew = facts.at - facts.date
    if abs(skew) < SKEW_WARNING:
        return State.OK, "agrees with this machine's", ""
    message = f"this machine is {_long(abs(skew))} {'ahead' if skew > timedelta() else 'behind'}"
    state = State.FAILURE if abs(skew) >= SKEW_FAILURE else State.WARNING
    return (
        state,
        message,
        "Check the clock of this machine (`timedatectl`). If it is right, that of the host is wrong.",
    )


def _long(span: timedelta) -> str:
    if span.days:
        return f"{span.days} day{'s' * (span.days != 1)}"
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


_NO_SAMPLE: Final = (State.SKIPPED, "no file of a named model is there", "")


def _ranges(report: HostReport) -> _Decision:
    sample = report.sample
    if sample is None:
        return _NO_SAMPLE
    if sample.is_ranged is None:
        return State.SKIPPED, "the file is too small to tell", ""
    if sample.is_ranged:
        return State.OK, "sends parts of files", ""
    hint = "Interrupted files start over there, and use one connection; another source may be better."
    return State.WARNING, "sends no parts of files", hint


def _speed(report: HostReport) -> _Decision:
    sample = report.sample
    if sample is None:
        return _NO_SAMPLE
    if sample.received == 0:
        return State.FAILURE, "no byte of the file in time", "Use another source, or try again later."
    rate = sample.received / max(sample.seconds, 1e-3)
    message = f"{format_rate(rate)} ({format_size(sample.received)} read)"
    if rate < _SLOW and sample.received >= _SLOW:
        return State.WARNING, message, "Another source may be faster: `modelfetch sources` lists them."
    return State.OK, message, ""


_DECISIONS: Final[dict[str, Callable[[HostReport], _Decision]]] = {
    "dns": _dns,
    "tcp": _tcp,
    "proxy": _proxy,
    "tls": _tls,
    "http": _http,
    "clock": _clock,
    "ranges": _ranges,
    "speed": _speed,
}
"""The checks of a host, in the order in which they are reached."""
