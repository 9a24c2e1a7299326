"""Which credentials and endpoint a store gets, and when requests are not signed."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from modelfetch.errors import Fault, SourceError
from modelfetch.net.object_credentials import access_to
from modelfetch.net.object_store import _proxy_options


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The metadata servers that were asked; none answers."""
    asked = list[str]()

    class Nothing:
        def __init__(self, host: str, timeout: float) -> None:
            assert timeout <= 1
            asked.append(host)

        def request(self, *_: object, **__: object) -> None:
            raise OSError("nothing there")

        def close(self) -> None:
            pass

    monkeypatch.setattr(http.client, "HTTPConnection", Nothing)
    return asked


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "lab"}


@pytest.mark.parametrize(("scheme", "more"), [("s3", {}), ("gs", {}), ("az", AZURE)])
def test_without_credentials_requests_are_not_signed(
    home: dict[str, str], asked: list[str], scheme: str, more: dict[str, str]
) -> None:
    found = access_to(scheme, home | more)
    assert found.config == {"skip_signature": True}
    assert found.hint.startswith("No credentials were found")
    assert asked == ["169.254.169.254"]  # no name: the system looks names up without a time limit


@pytest.mark.parametrize(
    ("scheme", "more"),
    [
        ("s3", {"AWS_ACCESS_KEY_ID": "x"}),
        ("s3", {"AWS_WEB_IDENTITY_TOKEN_FILE": "x"}),
        ("s3", {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "x"}),
        ("gs", {"GOOGLE_APPLICATION_CREDENTIALS": "x"}),
        ("gs", {"GOOGLE_SERVICE_ACCOUNT_KEY": "x"}),
        ("az", AZURE | {"AZURE_STORAGE_SAS_TOKEN": "x"}),
        ("az", AZURE | {"AZURE_FEDERATED_TOKEN_FILE": "x"}),
    ],
)
def test_credentials_of_the_environment_need_nothing_else(
    home: dict[str, str], asked: list[str], scheme: str, more: dict[str, str]
) -> None:
    assert access_to(scheme, home | more).config == {}
    assert asked == []


@pytest.mark.parametrize(
    ("scheme", "more"),
    [
        ("s3", {"AWS_EC2_METADATA_DISABLED": "TRUE"}),
        ("s3", {"AWS_SKIP_SIGNATURE": "true"}),
        ("gs", {"NO_GCE_CHECK": "true"}),
        ("az", AZURE | {"AZURE_SKIP_SIGNATURE": "true"}),
    ],
)
def test_metadata_may_be_switched_off(
    home: dict[str, str], asked: list[str], scheme: str, more: dict[str, str]
) -> None:
    assert access_to(scheme, home | more).config == {"skip_signature": True}
    assert asked == []


def test_the_login_of_gcloud_is_found(home: dict[str, str], tmp_path: Path, asked: list[str]) -> None:
    path = tmp_path / ".config/gcloud/application_default_credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert access_to("gs", home).config == {}
    assert asked == []


def test_azure_needs_an_account(home: dict[str, str]) -> None:
    with pytest.raises(SourceError) as caught:
        access_to("az", home)
    assert caught.value.fault is Fault.AUTHORIZATION


@pytest.mark.parametrize(
    ("scheme", "more", "endpoint", "is_plain"),
    [
        ("s3", {}, "https://s3.us-east-1.amazonaws.com", False),
        ("s3", {"AWS_REGION": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com", False),
        ("s3", {"AWS_ENDPOINT_URL": "http://minio:9000"}, "http://minio:9000", True),
        ("s3", {"AWS_ENDPOINT_URL": "http://h", "AWS_ENDPOINT_URL_S3": "http://s3:1"}, "http://s3:1", True),
        ("gs", {}, "https://storage.googleapis.com", False),
        ("gs", {"GOOGLE_BASE_URL": "http://fake:4443"}, "http://fake:4443", True),
        ("az", AZURE, "https://lab.blob.core.windows.net", False),
    ],
)
def test_plain_connections_are_for_an_endpoint_that_says_so(
    home: dict[str, str], scheme: str, more: dict[str, str], endpoint: str, is_plain: bool
) -> None:
    found = access_to(scheme, home | more)
    assert (found.endpoint, found.is_plain) == (endpoint, is_plain)


@pytest.mark.parametrize(
    "endpoint", ["minio:9000", "not a url", "http://", "http://h:99999", "ftp://x", "http://h/ "]
)
def test_an_endpoint_that_is_no_address_is_refused(home: dict[str, str], endpoint: str) -> None:
    """The client itself would end the process with a backtrace."""
    with pytest.raises(SourceError) as caught:
        access_to("s3", home | {"AWS_ENDPOINT_URL": endpoint})
    assert caught.value.fault is Fault.PROTOCOL
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_a_profile_is_used_where_the_environment_says_nothing(home: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / ".aws"
    directory.mkdir()
    (directory / "credentials").write_text("[default]\naws_access_key_id=A\naws_secret_access_key=B\n")
    (directory / "config").write_text("[default]\nregion=r\nendpoint_url=http://h:1\n")
    expected = {"access_key_id": "A", "secret_access_key": "B", "region": "r", "endpoint": "http://h:1"}
    found = access_to("s3", home)
    assert (found.config, found.is_plain) == (expected, True)
    own = {"AWS_ACCESS_KEY_ID": "x", "AWS_REGION": "q", "AWS_ENDPOINT_URL": "https://h:2"}
    assert access_to("s3", home | own).config == {}


# Proxies


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ALL_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".internal.example")
    return "http://proxy.example:3128"


def test_the_proxy_is_the_one_of_every_request(proxy: str) -> None:
    assert _proxy_options("https://s3.us-east-1.amazonaws.com") == {
        "proxy_url": proxy,
        "proxy_excludes": ".internal.example",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "minio.internal.example"])
def test_a_host_without_proxy_is_an_exception(proxy: str, host: str) -> None:
    assert _proxy_options(f"http://{host}:9000") == {
        "proxy_url": proxy,
        "proxy_excludes": f"{host},.internal.example",
    }


def test_without_a_proxy_nothing_is_set(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    assert _proxy_options("https://s3.us-east-1.amazonaws.com") == {}
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name)
    assert _proxy_options("https://s3.us-east-1.amazonaws.com") == {}


@pytest.mark.parametrize(("scheme", "more"), [("s3", {}), ("gs", {}), ("az", AZURE)])
def test_a_home_that_cannot_be_looked_at_has_no_credentials(
    home: dict[str, str], tmp_path: Path, scheme: str, more: dict[str, str]
) -> None:
    """Such as that of root, which a container gives to any user."""
    for name in (".aws", ".config", ".azure"):
        (tmp_path / name).symlink_to("x" * 300)
    assert access_to(scheme, home | more).config == {"skip_signature": True}


def test_a_file_of_an_unknown_user_counts_as_absent(home: dict[str, str]) -> None:
    named = {"AWS_SHARED_CREDENTIALS_FILE": "~nobody-here/x", "AWS_CONFIG_FILE": "~nobody-here/y"}
    assert access_to("s3", home | named).config == {"skip_signature": True}
