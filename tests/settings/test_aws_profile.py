"""The files of the AWS tools: which profile, which file takes precedence, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfetch.settings.aws_profile import AwsProfile, read_profile


def profile(home: Path, credentials: str = "", config: str = "", **environ: str) -> AwsProfile:
    """The profile of a home with these files."""
    directory = home / ".aws"
    directory.mkdir(exist_ok=True)
    (directory / "credentials").write_text(credentials)
    (directory / "config").write_text(config)
    return read_profile({"HOME": str(home), **environ})


KEYS = "aws_access_key_id = A\naws_secret_access_key = s%cr=t#;\n"


def test_the_default_profile(tmp_path: Path) -> None:
    found = profile(tmp_path, f"[default]\n{KEYS}aws_session_token=T\n", "[default]\nregion = eu-west-1\n")
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("A", "s%cr=t#;", "T")
    assert (found.region, found.endpoint, found.has_key, found.needs_login) == ("eu-west-1", "", True, False)


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_the_environment_names_a_profile(tmp_path: Path, variable: str) -> None:
    found = profile(
        tmp_path,
        f"[default]\naws_access_key_id=X\naws_secret_access_key=Y\n[lab]\n{KEYS}",
        "[default]\nregion=a\n[profile lab]\nregion=b\nendpoint_url=http://h:1\n[lab]\nregion=c\n",
        **{variable: "lab"},
    )
    assert (found.name, found.access_key_id, found.region, found.endpoint) == ("lab", "A", "b", "http://h:1")


def test_the_file_of_credentials_takes_precedence(tmp_path: Path) -> None:
    found = profile(tmp_path, f"[default]\n{KEYS}", "[default]\naws_access_key_id=B\nregion=r\n")
    assert (found.access_key_id, found.region) == ("A", "r")


def test_variables_name_the_files(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(f"[default]\n{KEYS}")
    found = profile(tmp_path, "", "", AWS_SHARED_CREDENTIALS_FILE=str(other), AWS_CONFIG_FILE="~/nothing")
    assert found.has_key


@pytest.mark.parametrize("key", ["sso_session", "role_arn", "credential_process", "sso_start_url"])
def test_a_profile_with_a_login_is_recognized(tmp_path: Path, key: str) -> None:
    found = profile(tmp_path, "", f"[default]\n{key} = x\n")
    assert (found.needs_login, found.has_key) == (True, False)


@pytest.mark.parametrize(
    "text", ["no section\n", "[default\n", "\x00\xff", "[default]\nkey\n", "[other]\na=b\n"]
)
def test_a_file_that_is_none_counts_as_absent(tmp_path: Path, text: str) -> None:
    assert profile(tmp_path, text, text) == AwsProfile("default")


def test_a_directory_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    import os

    directory = tmp_path / ".aws"
    (directory / "credentials").mkdir(parents=True)
    os.mkfifo(directory / "config")
    assert read_profile({"HOME": str(tmp_path)}) == AwsProfile("default")
