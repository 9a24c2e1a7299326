"""Challenges: what a WWW-Authenticate field asks for, however it is written."""

from __future__ import annotations

import time

import pytest

from modelfetch.net.challenges import Challenge


@pytest.mark.parametrize(
    ("field", "parameters"),
    [
        ('Bearer realm="https://a/token",service="s"', {"realm": "https://a/token", "service": "s"}),
        ('bearer REALM="https://a/token"', {"realm": "https://a/token"}),
        ("Bearer realm=https://a/token, service=s", {"realm": "https://a/token", "service": "s"}),
        ('Basic realm="b", Bearer realm="a" , service="s"', {"realm": "a", "service": "s"}),
        ('Bearer realm="a", Basic realm="b"', {"realm": "a"}),
        ('Basic, Bearer realm="a"', {"realm": "a"}),
        (r'Bearer realm="a\"b\\c,d=e"', {"realm": 'a"b\\c,d=e'}),
        ('Bearer realm="a",realm="b"', {"realm": "a"}),
        ("Bearer", {}),
        ('Bearer realm="unclosed', {}),
        ('Basic realm="Bearer realm=x"', None),
        ("Negotiate abc==", None),
        ("", None),
        ("\x00\x01", None),
    ],
)
def test_the_parameters_of_a_scheme(field: str, parameters: dict[str, str] | None) -> None:
    assert Challenge(field, is_public=False).parameters("Bearer") == parameters


@pytest.mark.parametrize(
    "field", ['Bearer realm="' + '\\"' * 50_000, "Bearer " + "a=b," * 50_000, "," * 200_000]
)
def test_a_hostile_field_takes_no_time(field: str) -> None:
    started = time.process_time()
    Challenge(field, is_public=False).parameters("Basic")
    assert time.process_time() - started < 0.5
