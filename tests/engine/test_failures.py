"""The one error that a run ends with: its exit code, message and hint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from modelfetch.engine.failures import Exhausted, UnreachableError, file_error, worst
from modelfetch.errors import (
    AuthorizationError,
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
from modelfetch.net.responses import Unresolved


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
        ([Fault.AUTHORIZATION], 9),
        ([Fault.NOT_FOUND, Fault.AUTHORIZATION, Fault.CONNECT], 9),
        ([Fault.AUTHORIZATION, Fault.HASH], 5),
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
    [[Fault.HASH, Fault.NOT_FOUND], [Fault.NOT_FOUND, Fault.STALL], [Fault.AUTHORIZATION, Fault.TLS]],
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
    for fault in (Fault.NOT_FOUND, Fault.HASH, Fault.AUTHORIZATION, Fault.TLS):
        assert conclusion(fault, hint="Set HF_TOKEN.").hint == "Set HF_TOKEN."


def test_the_hint_of_the_source_that_wants_credentials_is_used() -> None:
    failures = [
        ("mirror a.example", SourceError(Fault.TLS, "refused", hint="Set SSL_CERT_FILE.")),
        ("huggingface b.example", SourceError(Fault.AUTHORIZATION, "refused", hint="Set HF_TOKEN.")),
    ]
    assert file_error("m", "f", Exhausted(failures), offline=False).hint == "Set HF_TOKEN."


def unreached(hosts: Sequence[str], model: str = "whisper", name: bool = False) -> ModelfetchError:
    error = Unresolved("cannot resolve host") if name else SourceError(Fault.CONNECT, "connection refused")
    failures = [(f"mirror {host}", error) for host in hosts]
    return file_error(model, "f", Exhausted(failures), offline=False)


def test_a_dead_network_is_one_failure_whatever_the_number_of_files() -> None:
    files = [unreached(["huggingface.co", "a.example"], name=True), unreached(["b.example", "a.example"])]
    found = worst(files)
    assert (type(found), found.code, found.exit_code) == (UnreachableError, "unavailable", 6)
    assert found.message == (
        "whisper: none of its 3 hosts can be reached (cannot resolve huggingface.co, ...): "
        "is this machine online?"
    )
    assert found.hint


def test_of_several_models_all_are_named_and_of_one_host_its_reason() -> None:
    both = worst([unreached(["a", "b"]), unreached(["a"], model="tts")]).message
    assert both.startswith("whisper, tts: none of their 2 hosts can be reached (a: connection refused, ...)")
    one = worst([unreached(["a"])]).message
    assert one == "whisper: its only host cannot be reached (a: connection refused)"


def test_a_network_that_is_dead_for_some_files_only_is_no_dead_network() -> None:
    found = worst([conclusion(Fault.NOT_FOUND), unreached(["a"])])
    assert type(found) is UnavailableError
    assert "online" not in found.message
    assert "(and 1 more file)" in found.message


def test_a_proxy_that_is_not_reached_keeps_its_own_advice() -> None:
    proxy = SourceError(Fault.PROXY, "the proxy cannot be reached", hint="Check HTTPS_PROXY and NO_PROXY.")
    found = worst([file_error("m", "f", Exhausted([("mirror a", proxy), ("url b", proxy)]), offline=False)])
    assert "none of its 2 hosts" in found.message
    assert "online" not in found.message
    assert found.hint == proxy.hint


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.CONNECT, 6), (Fault.NOT_FOUND, 6), (Fault.AUTHORIZATION, 9), (Fault.HASH, 5)]
)
def test_a_damaged_copy_on_this_disk_decides_nothing_as_long_as_others_could_be_asked(
    fault: Fault, code: int
) -> None:
    failures = [
        ("local /cache", SourceError(Fault.HASH, "wrong")),
        ("mirror a.example", SourceError(fault, "on purpose")),
    ]
    assert file_error("m", "f", Exhausted(failures), offline=False).exit_code == code
    assert file_error("m", "f", Exhausted(failures[:1]), offline=False).exit_code == 5


def test_wrong_bytes_are_reported_with_both_digests() -> None:
    wrong = SourceError(Fault.HASH, "sent wrong bytes", detail="expected SHA-256 aa, got bb")
    message = file_error("m", "f", Exhausted([("mirror a", wrong)]), offline=False).message
    assert "mirror a: sent wrong bytes (expected SHA-256 aa, got bb)" in message


def test_only_a_dead_network_is_called_one() -> None:
    assert "Check the network" in conclusion(Fault.CONNECT, Fault.CONNECT).hint
    assert "Check the network" not in conclusion(Fault.CONNECT, Fault.NOT_FOUND).hint


GRAVEST_FIRST = [
    StoreError,
    DeadlineError,
    LockTimeoutError,
    IntegrityError,
    AuthorizationError,
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


def test_an_error_of_another_kind_goes_first() -> None:
    class Unheard(ModelfetchError):
        pass

    assert isinstance(worst([StoreError("a"), Unheard("b")]), Unheard)


def test_a_file_that_no_peer_has_is_not_a_file_without_sources() -> None:
    found = file_error("m", "f", Exhausted([]), offline=False, has_peers=True)
    assert found.exit_code == 6
    assert "no peer" in found.message
    assert "serve --share" in found.hint


@pytest.mark.parametrize(
    ("messages", "is_network"),
    [
        (["connection refused"], False),
        (["connection refused at minio.internal:9000", "connection refused"], False),
        (["connection refused", "no connection in time"], True),
        (["network is unreachable"], True),
    ],
)
def test_a_host_that_refuses_connections_is_no_sign_of_a_dead_network(
    messages: list[str], *, is_network: bool
) -> None:
    failures = [(f"mirror {n}", SourceError(Fault.CONNECT, message)) for n, message in enumerate(messages)]
    found = file_error("m", "f", Exhausted(failures), offline=False)
    assert ("online" in found.message) == is_network
    assert ("Check the network" if is_network else "the server runs") in found.hint
