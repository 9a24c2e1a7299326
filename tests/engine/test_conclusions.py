"""From failures to the one error a run ends with: its exit code, and words a person can act on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from modelfetch.engine.conclusions import file_error, worst
from modelfetch.engine.transfer import Exhausted
from modelfetch.errors import (
    AuthorisationError,
    DeadlineError,
    Fault,
    IntegrityError,
    LockTimeoutError,
    ModelfetchError,
    OfflineError,
    SourceError,
    StoreError,
    UnavailableError,
)


def conclusion(*faults: Fault, offline: bool = False, hint: str = "") -> ModelfetchError:
    failures = [
        (f"mirror {n}.example", SourceError(fault, f"{fault} on purpose", hint=hint if not n else ""))
        for n, fault in enumerate(faults)
    ]
    return file_error("whisper", "onnx/a.onnx", Exhausted(failures), offline=offline)


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ([Fault.NOT_FOUND], 6),
        ([Fault.CONNECT], 6),
        ([Fault.CONNECT, Fault.STALL, Fault.SERVER], 6),
        ([Fault.HASH], 5),
        ([Fault.SIZE], 5),
        ([Fault.HASH, Fault.NOT_FOUND], 5),
        ([Fault.CONNECT, Fault.SIZE], 5),
        ([Fault.AUTHORISATION], 9),
        ([Fault.NOT_FOUND, Fault.AUTHORISATION, Fault.CONNECT], 9),
        ([Fault.AUTHORISATION, Fault.HASH], 5),
        ([], 6),
    ],
)
def test_exit_codes(faults: list[Fault], code: int) -> None:
    assert conclusion(*faults).exit_code == code


def test_offline_is_its_own_reason() -> None:
    assert conclusion(offline=True).exit_code == 4
    assert conclusion(Fault.NOT_FOUND, offline=True).exit_code == 4
    assert conclusion(Fault.HASH, offline=True).exit_code == 4, "the way out is to go online"


@pytest.mark.parametrize(
    "faults",
    [[Fault.HASH, Fault.NOT_FOUND], [Fault.NOT_FOUND, Fault.STALL], [Fault.AUTHORISATION, Fault.TLS]],
)
def test_every_source_that_was_tried_is_named_with_its_reason(faults: list[Fault]) -> None:
    message = conclusion(*faults).message
    assert message.startswith("whisper: onnx/a.onnx")
    for n, fault in enumerate(faults):
        assert f"mirror {n}.example: {fault} on purpose" in message


def test_every_conclusion_says_what_to_do_next() -> None:
    for fault in Fault:
        assert conclusion(fault).hint
    assert conclusion().hint
    assert conclusion(offline=True).hint


def test_the_hint_of_a_source_is_passed_on() -> None:
    for fault in (Fault.NOT_FOUND, Fault.HASH, Fault.AUTHORISATION, Fault.TLS):
        assert conclusion(fault, hint="Set HF_TOKEN.").hint == "Set HF_TOKEN."


def test_who_wants_credentials_says_where_they_come_from() -> None:
    failures = [
        ("mirror a.example", SourceError(Fault.TLS, "refused", hint="Set SSL_CERT_FILE.")),
        ("huggingface b.example", SourceError(Fault.AUTHORISATION, "refused", hint="Set HF_TOKEN.")),
    ]
    assert file_error("m", "f", Exhausted(failures), offline=False).hint == "Set HF_TOKEN."


def test_only_a_dead_network_is_called_one() -> None:
    assert "Check the network" in conclusion(Fault.CONNECT, Fault.CONNECT).hint
    assert "Check the network" not in conclusion(Fault.CONNECT, Fault.NOT_FOUND).hint


GRAVEST_FIRST = [
    StoreError,
    DeadlineError,
    LockTimeoutError,
    IntegrityError,
    AuthorisationError,
    UnavailableError,
    OfflineError,
]


@pytest.mark.parametrize(("graver", "lesser"), list(pairwise(GRAVEST_FIRST)))
def test_the_gravest_error_ends_the_run(graver: type[ModelfetchError], lesser: type[ModelfetchError]) -> None:
    found = worst([lesser("b", hint="B."), graver("a", hint="A."), lesser("c")])
    assert (type(found), found.message, found.hint) == (graver, "a (and 2 more files)", "A.")


def test_a_single_error_is_left_as_it_is() -> None:
    error = UnavailableError("a", hint="A.")
    assert worst([error]) is error


def test_one_more_file_is_one_more_file() -> None:
    assert worst([UnavailableError("a"), UnavailableError("b")]).message == "a (and 1 more file)"


def test_an_error_nobody_thought_of_goes_first() -> None:
    class Unheard(ModelfetchError):
        pass

    assert isinstance(worst([StoreError("a"), Unheard("b")]), Unheard)
