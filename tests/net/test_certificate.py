"""Reading the fields of a certificate from its bytes."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import trustme
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.net.certificate import read_certificate

_CA = trustme.CA(organization_name="Org\x1b[2J of Tests")
_DER = ssl.PEM_cert_to_DER_cert(
    _CA.issue_cert(
        "models.example",
        common_name="models.example",
        not_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_after=datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC),
    )
    .cert_chain_pems[0]
    .bytes()
    .decode()
)


def test_names_and_dates() -> None:
    """Dates from 2050 on have another form than those before (RFC 5280, 4.1.2.5)."""
    found = read_certificate(_DER)
    assert found is not None
    assert found.issuer == "Org[2J of Tests"
    assert found.subject == "models.example"
    assert found.starts == datetime(2020, 1, 1, tzinfo=UTC)
    assert found.ends == datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC)


@given(st.binary(max_size=200))
def test_other_bytes_are_no_certificate(data: bytes) -> None:
    assert read_certificate(data) is None


@given(st.integers(0, len(_DER) - 1), st.integers(0, 255))
def test_a_changed_byte_is_no_error(at: int, byte: int) -> None:
    found = read_certificate(_DER[:at] + bytes([byte]) + _DER[at + 1 :])
    assert found is None or (found.issuer + found.subject).isprintable()


@given(st.integers(0, len(_DER) - 1))
def test_a_cut_certificate_is_none(length: int) -> None:
    assert read_certificate(_DER[:length]) is None
