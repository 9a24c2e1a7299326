"""Secrets in unexpected text are masked; the rest of the text stays."""

from __future__ import annotations

import pytest

from modelfetch.settings.text_redaction import redact_text

ENVIRON = {
    "HOME": "/home/ann",
    "HF_TOKEN": "of-the-environment-canary",
    "SOME_API_KEY": "short",
    "MODELFETCH_SERVE_TOKEN": "served-canary-served",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OSError: /home/ann/.cache/x: no", "OSError: ~/.cache/x: no"),
        ("in /home/annabel/x and '/home/ann'", "in /home/annabel/x and '~'"),
        ("GET https://me:canary@a.example/x?sig=canary#canary", "GET https://***@a.example/x?***#***"),
        ("url='https://a.example/f?X-Amz-Signature=canary'", "url='https://a.example/f?***'"),
        ("{'Authorization': 'Bearer canary.canary-1'}", "{'Authorization': 'Bearer ***'}"),
        ("token=canary-1, next", "token=***, next"),
        ('{"password": "canary canary"}', '{"password": ***}'),
        ("aws_secret_key: 'canary'", "aws_secret_key: ***"),
        ("hf_abcdefghijklmnopqrstuvwx is no token", "hf_*** is no token"),
        ("it was of-the-environment-canary", "it was ***"),
        ("KeyError: 'served-canary-served'", "KeyError: '***'"),
        ("a short value stays", "a short value stays"),
        ("line 1\nline 2", "line 1\nline 2"),
        ("https://a.example/plain/path", "https://a.example/plain/path"),
    ],
)  # fmt: skip
def test_secrets_go_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact_text(text, ENVIRON) == expected


def test_without_a_home_directory_no_path_is_masked() -> None:
    assert redact_text("/x/y", {"HOME": "/"}) == "/x/y"
    assert redact_text("/x/y", {}) == "/x/y"
