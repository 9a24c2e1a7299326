"""Addresses of objects: bucket and key, and nothing that could lead a request elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.model.addresses import why_bad_location, why_bad_template
from modelfetch.model.object_address import KEY_BYTES, parse_object_url, why_bad_object_url


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://models/a/b.bin", "models", "a/b.bin"),
        ("s3://my.models-1/x", "my.models-1", "x"),
        ("gs://some_bucket.example.org/x", "some_bucket.example.org", "x"),
        ("az://container-1/ü %20", "container-1", "ü %20"),
        ("az://$root/x", "$root", "x"),
        ("s3://models", "models", ""),
        ("s3://models/dir/", "models", "dir/"),
    ],
)
def test_an_address_is_a_bucket_and_a_key(text: str, bucket: str, key: str) -> None:
    found = parse_object_url(text)
    assert (found.bucket, found.key) == (bucket, key)
    assert found.text.rstrip("/") == text.rstrip("/")
    assert found.is_prefix == (not key or key.endswith("/"))
    assert found.place == f"{text.partition(':')[0]}://{bucket}"


@pytest.mark.quick(every=4)
@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("https://models/x", "must start with"),
        ("S3://models/x", "must start with"),
        ("s3:///x", "name of a bucket"),
        ("s3://a/x", "name of a bucket"),
        ("s3://Models/x", "name of a bucket"),
        ("s3://-models/x", "name of a bucket"),
        ("s3://models_1/x", "name of a bucket"),
        ("s3://" + "a" * 64 + "/x", "name of a bucket"),
        ("s3://host.example:9000/x", "name of a bucket"),
        ("s3://evil.example%2f/x", "name of a bucket"),
        ("s3://models\\evil/x", "name of a bucket"),
        ("s3://models?x=1", "name of a bucket"),
        ("az://a--b/x", "name of a bucket"),
        ("az://a.b/x", "name of a bucket"),
        ("s3://user:pw@models/x", "user name or password"),
        ("s3://key@models/x", "user name or password"),
        ("s3://models/../x", "'.' or '..'"),
        ("s3://models/a/./x", "'.' or '..'"),
        ("s3://models//x", "empty part"),
        ("s3://models/a//", "empty part"),
        ("s3://models/x?versionId=1", "query"),
        ("s3://models/x#y", "query or fragment"),
        ("s3://models/a\nb", "control"),
        ("s3://models/a\u202eb", "invisible"),
        ("s3://models/" + "ü" * KEY_BYTES, "more than 1024 bytes"),
    ],
)
def test_anything_else_is_refused(text: str, clause: str) -> None:
    assert clause in why_bad_object_url(text)
    with pytest.raises(ValueError, match=re.escape(clause)):
        parse_object_url(text)


@given(st.text(max_size=40))
def test_no_text_raises_anything_else(text: str) -> None:
    for scheme in ("s3", "gs", "az"):
        assert isinstance(why_bad_object_url(f"{scheme}://{text}"), str)
        assert isinstance(why_bad_template(f"{scheme}://{text}/{{path}}"), str)


def test_the_address_of_a_file_names_an_object() -> None:
    assert why_bad_location("s3://models/x") == ""
    assert why_bad_location("https://h.example/x") == ""
    for text in ("s3://models", "s3://models/", "s3://models/dir/"):
        assert why_bad_location(text) == "names no object"
    assert "must start with" in why_bad_location("ftp://h.example/x")


@pytest.mark.parametrize(
    ("template", "clause"),
    [
        ("s3://models/{sha256}", ""),
        ("gs://models/{name}/{version}/{path}", ""),
        ("az://models/x-{sha256}.bin", ""),
        ("s3://{name}/{path}", "bucket"),
        ("s3://models/x", "needs {path} or {sha256}"),
        ("s3://models/{sha256}?x", "query"),
        ("s3://models/{digest}", "a field other than"),
        ("s3://user@models/{sha256}", "user name"),
    ],
)
def test_a_template_has_fields_in_its_key(template: str, clause: str) -> None:
    assert clause in why_bad_template(template)
    assert clause or not why_bad_template(template)
