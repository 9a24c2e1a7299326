"""What the client of object stores raises, as errors of sources: by class, status, code and text."""

from __future__ import annotations

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.net.object_errors import object_error
from modelfetch.net.object_transfer import Translated
from modelfetch.net.responses import Unranged

HINT = "Check the credentials."


class GenericError(Exception):
    """As obstore's class of this name."""

    __module__ = "obstore.exceptions"


def refused(status: int, code: str = "", where: str = "http://127.0.0.1:1/b/k") -> GenericError:
    """An answer with a status, as obstore describes it."""
    body = f"<Error><Code>{code}</Code></Error>" if code else ""
    return GenericError(
        f"Generic S3 error: Error performing GET {where} in 1ms - "
        f"Server returned non-2xx status code: {status} X: {body}\n\nDebug source: ..."
    )


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("error", "fault", "message"),
    [
        (FileNotFoundError("Object at location x not found"), Fault.NOT_FOUND, "not found (404)"),
        (refused(404, "NoSuchBucket"), Fault.NOT_FOUND, "no such bucket"),
        (refused(404, "ContainerNotFound"), Fault.NOT_FOUND, "no such bucket"),
        (refused(403), Fault.AUTHORIZATION, "access refused (403)"),
        (refused(400, "AuthorizationHeaderMalformed"), Fault.AUTHORIZATION, "access refused (400, "),
        (refused(416), Fault.SIZE, "is shorter than the file"),
        (refused(503, "SlowDown"), Fault.BUSY, "asks to slow down (SlowDown)"),
        (refused(503), Fault.BUSY, "service unavailable (503)"),
        (refused(500), Fault.SERVER, "internal server error (500)"),
        (refused(200), Fault.PROTOCOL, "unexpected answer"),
        (refused(403, where="http://169.254.169.254/latest/api/token"), Fault.AUTHORIZATION, "obtained"),
        (refused(400, where="https://sts.eu-west-1.amazonaws.com/"), Fault.AUTHORIZATION, "obtained"),
        (GenericError("Failed to read token file '/x'"), Fault.AUTHORIZATION, "obtained"),
        (GenericError('kind: Connect, ... "dns error"'), Fault.CONNECT, "cannot resolve host"),
        (GenericError("kind: Connect, ... Connection refused"), Fault.CONNECT, "connection refused"),
        (GenericError("kind: Connect, ... invalid peer certificate"), Fault.TLS, "certificate refused"),
        (GenericError("kind: Timeout"), Fault.TIMEOUT, "no answer in time"),
        (GenericError("kind: Interrupted"), Fault.CUT, "the connection was cut before an answer"),
        (GenericError("Received redirect without LOCATION"), Fault.PROTOCOL, "another region"),
        (GenericError("\x1b[31m <Code>Evil</Code>"), Fault.PROTOCOL, "an answer that cannot be used"),
    ],
)
def test_an_exception_has_its_fault(error: Exception, fault: Fault, message: str) -> None:
    found = object_error(error, HINT)
    assert found.fault is fault
    assert message in found.message
    assert "127.0.0.1" not in found.message
    if fault is Fault.AUTHORIZATION:
        assert found.hint == HINT


def test_a_key_that_looks_like_a_metadata_server_is_a_key() -> None:
    where = "http://127.0.0.1:1/b/latest/api/token"
    assert object_error(refused(500, where=where), HINT).fault is Fault.SERVER


def test_after_the_first_byte_silence_is_a_stall() -> None:
    assert object_error(GenericError("kind: Timeout"), HINT, has_begun=True).fault is Fault.STALL


def test_a_whole_object_instead_of_a_part_is_reported() -> None:
    assert isinstance(object_error(GenericError("source: NotPartial"), HINT), Unranged)


def test_a_panic_is_an_error_of_the_source() -> None:
    class PanicException(BaseException):
        __module__ = "pyo3_runtime"

    with pytest.raises(SourceError) as caught, Translated(HINT):
        raise PanicException("request valid: InvalidUri")
    assert caught.value.fault is Fault.PROTOCOL


def test_what_is_not_of_the_client_passes_unchanged() -> None:
    for error in (SourceError(Fault.CUT, "x"), ZeroDivisionError(), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, Translated(HINT):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    ("store", "address", "kind", "fault", "message", "hint"),
    [
        ("S3", "http://10.0.0.9:1", "Connection refused", Fault.CONNECT, "10.0.0.9:1", "AWS_ENDPOINT"),
        ("S3", "https://s3.eu.example", '"dns error"', Fault.CONNECT, "s3.eu.example", "AWS_ENDPOINT"),
        ("GCS", "https://gs.example", "x", Fault.CONNECT, "gs.example", "GOOGLE_BASE_URL"),
        ("MicrosoftAzure", "http://az.example", "x", Fault.CONNECT, "az.example", "AZURE_STORAGE_ENDPOINT"),
        ("S3", "https://h:9", "InvalidMessage(InvalidContentType)", Fault.TLS, "h:9", "http://"),
    ],
)
def test_what_cannot_be_reached_is_named(
    store: str, address: str, kind: str, fault: Fault, message: str, hint: str
) -> None:
    text = f"Generic {store} error: Error performing GET {address}/b/k in 1ms - kind: Connect, {kind}"
    found = object_error(GenericError(text), HINT)
    assert found.fault is fault
    assert message in found.message
    assert hint in found.hint


def test_a_password_in_an_endpoint_is_not_shown() -> None:
    text = "Generic S3 error: Error performing GET http://me:secret@h:9/b in 1ms - kind: Connect, x"
    assert "secret" not in object_error(GenericError(text), HINT).message


def test_a_wrong_clock_is_not_a_wrong_key() -> None:
    found = object_error(refused(403, "RequestTimeTooSkewed"), HINT)
    assert found.fault is Fault.AUTHORIZATION
    assert "clock of this machine" in found.hint
