"""Content identifiers: known vectors, strict spelling, and rejection with a reason."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfetch.ipfs.cid import DAG_PB, IDENTITY, RAW, SHA2_256, Cid, cid_of, raw_sha256
from modelfetch.ipfs.errors import MalformedError

TEST_SHA256 = hashlib.sha256(b"test").digest()
TEST_CID = "bafkreie7q3iidccmpvszul7kudcvvuavuo7u6gzlbobczuk5nqk3b4akba"
TEST_HEX = "015512209f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
HELLO_V0 = "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def digits(data: bytes, alphabet: str) -> str:
    """Write bytes without leading zeros as one large number."""
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, len(alphabet))
        text = alphabet[digit] + text
    return text


@pytest.mark.parametrize(
    ("text", "cid"),
    [
        (TEST_CID, Cid(1, RAW, SHA2_256, TEST_SHA256)),
        (
            HELLO_V0,
            Cid(0, DAG_PB, SHA2_256, hashlib.sha256(b"\n\x11\x08\x02\x12\x0bhello world\x18\x0b").digest()),
        ),
        (
            "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
            Cid(1, RAW, SHA2_256, hashlib.sha256(b"hello world").digest()),
        ),
        (
            "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y",
            Cid(1, DAG_PB, SHA2_256, hashlib.sha256(bytes.fromhex("0a0408021800")).digest()),
        ),
        (
            "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
            Cid(0, DAG_PB, SHA2_256, hashlib.sha256(bytes.fromhex("0a0408021800")).digest()),
        ),
        (
            "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64",
            Cid(
                1,
                DAG_PB,
                SHA2_256,
                hashlib.sha256(
                    bytes.fromhex(
                        "122c0a24015512200268cb8e7373247d08ea6c0846700eb7b9c8eb58bfecbd921e4252e9e266ec98120018808040"
                        "122a0a24015512204d7b3ef7300acf70c892d8327db8272f54434adbc61a4e130a563cb59a0d0f4712001801"
                        "0a0c0802188180402080804020 01".replace(" ", "")
                    )
                ).digest(),
            ),
        ),
        ("bafkqaaa", Cid(1, RAW, IDENTITY, b"")),
        ("bafyaabakaieac", Cid(1, DAG_PB, IDENTITY, bytes.fromhex("0a020801"))),
    ],
)
def test_known_identifiers_are_read_and_written(text: str, cid: Cid) -> None:
    assert Cid.parse(text) == cid
    assert cid.text == text


@pytest.mark.parametrize(
    "text",
    [
        TEST_CID,
        "B" + TEST_CID[1:].upper(),
        "f" + TEST_HEX,
        "F" + TEST_HEX.upper(),
        "z" + digits(bytes.fromhex(TEST_HEX), BASE58),
        "k" + digits(bytes.fromhex(TEST_HEX), BASE36),
    ],
)
def test_every_base_gives_the_same_identifier(text: str) -> None:
    assert Cid.parse(text).text == TEST_CID


def test_version_1_of_a_version_0_names_the_same_block() -> None:
    cid = Cid.parse(HELLO_V0)
    assert cid.to_v1().text == "bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa"
    assert cid.to_v1().digest == cid.digest
    assert cid.to_v1().to_v1() == cid.to_v1()


def test_only_a_raw_block_under_sha2_256_holds_the_hash_of_the_file() -> None:
    assert raw_sha256(Cid.parse(TEST_CID)) == TEST_SHA256.hex()
    assert raw_sha256(Cid.parse(HELLO_V0)) is None
    assert raw_sha256(Cid.parse(HELLO_V0).to_v1()) is None
    assert raw_sha256(Cid.parse("bafkqaaa")) is None


def in_hex(codec: str = "55", multihash: str = "1220" + "00" * 32, version: str = "01") -> str:
    return "f" + version + codec + multihash


@pytest.mark.quick(every=3)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a CID"),
        ("hello", "not a CID"),
        ("../../x", "not a CID"),
        ("ipfs://" + TEST_CID, "not a CID"),
        ("u" + TEST_CID[1:], "not a CID"),
        ("b", "ends inside a varint"),
        (HELLO_V0[:-1], "not a CID"),
        (HELLO_V0 + "1", "not a CID"),
        (HELLO_V0[:-1] + "0", "not valid base 58"),
        (HELLO_V0[:-1] + "l", "not valid base 58"),
        ("Qm" + "1" * 44, "not a CID of version 0"),
        ("Qm" + "z" * 44, "not a CID of version 0"),
        (TEST_CID + "a", "not valid base 32"),
        (TEST_CID[:-1] + "b", "not valid base 32"),
        (TEST_CID[:-1] + "1", "not valid base 32"),
        (TEST_CID[:-1] + "=", "not valid base 32"),
        ("b" + TEST_CID[1:].upper(), "not valid base 32"),
        ("B" + TEST_CID[1:], "mixes upper and lower case"),
        (TEST_CID + "\n", "not valid base 32"),
        ("f" + TEST_HEX + " ", "not valid base 16"),
        ("f" + TEST_HEX[:-1], "not valid base 16"),
        ("f" + TEST_HEX.upper(), "not valid base 16"),
        ("k" + "A", "not valid base 36"),
        ("B\u212a" + TEST_CID[2:].upper(), "only ASCII"),
        ("f" + "00" * 600, "at most 512 characters"),
        (in_hex(version="00"), "must be of version 0 or 1, not 0"),
        (in_hex(version="02"), "must be of version 0 or 1, not 2"),
        (in_hex(version="12"), "must be of version 0 or 1, not 18"),
        ("z" + HELLO_V0, "must be of version 1"),
        (in_hex("71"), "codec dag-cbor does not describe files"),
        (in_hex("a902"), "codec dag-json does not describe files"),
        (in_hex("72"), "codec libp2p-key does not describe files"),
        (in_hex("07"), "codec 0x7 does not describe files"),
        (in_hex(multihash="1340" + "00" * 64), "hash sha2-512 is not supported"),
        (in_hex(multihash="1e20" + "00" * 32), "hash blake3 is not supported"),
        (in_hex(multihash="a0e40220" + "00" * 32), "hash blake2b-256 is not supported"),
        (in_hex(multihash="2208" + "00" * 8), "hash murmur3-x64-64 is not supported"),
        (in_hex(multihash="1110" + "00" * 16), "hash 0x11 is not supported"),
        (in_hex(multihash="1220" + "00" * 31), "31 bytes instead of the stated 32"),
        (in_hex(multihash="1220" + "00" * 33), "other bytes follow the digest"),
        (in_hex(multihash="1210" + "00" * 16), "sha2-256 digest must have 32 bytes"),
        (in_hex(multihash="008101" + "00" * 129), "identity digest must have at most 128 bytes"),
        (in_hex("d500"), "shortest form"),
        (in_hex("ff" * 9), "varint is too long"),
        (in_hex("ff" * 3, ""), "ends inside a varint"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        Cid.parse(text)


def test_an_identity_of_128_bytes_is_accepted() -> None:
    cid = Cid.parse(in_hex(multihash="008001" + "ab" * 128))
    assert cid == Cid(1, RAW, IDENTITY, b"\xab" * 128)
    assert Cid.parse(cid.text) == cid


@given(st.sampled_from([RAW, DAG_PB]), st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read_back(codec: int, digest: bytes) -> None:
    cid = Cid(1, codec, SHA2_256, digest)
    assert Cid.parse(cid.text) == cid
    assert len(cid.text) == 59
    old = Cid(0, DAG_PB, SHA2_256, digest)
    assert Cid.parse(old.text) == old
    assert len(old.text) == 46


@given(st.text(st.characters() | st.sampled_from("bBzfFkQm012abcdefqr"), max_size=80))
def test_any_text_is_read_to_one_spelling_or_refused(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except MalformedError:
        return
    assert Cid.parse(cid.text) == cid


BINARY = [
    (TEST_HEX, TEST_CID),
    ("1220" + Cid.parse(HELLO_V0).digest.hex(), HELLO_V0),
    ("01701220" + Cid.parse(HELLO_V0).digest.hex(), Cid.parse(HELLO_V0).to_v1().text),
    ("01550000", "bafkqaaa"),
    ("017000040a020801", "bafyaabakaieac"),
]


@pytest.mark.parametrize(("data", "text"), BINARY)
def test_the_binary_form_is_read_and_written(data: str, text: str) -> None:
    block = bytes.fromhex(data)
    cid = Cid.parse(text)
    assert Cid.from_binary(block) == cid
    assert cid.binary == block
    assert Cid.read(b"xx" + block + b"rest", 2) == (cid, 2 + len(block))


@pytest.mark.parametrize(("data", "text"), BINARY)
def test_no_part_of_a_binary_form_is_an_identifier(data: str, text: str) -> None:
    block = bytes.fromhex(data)
    for end in range(len(block)):
        with pytest.raises(MalformedError):
            Cid.read(block[:end])
    with pytest.raises(MalformedError, match="other bytes follow"):
        Cid.from_binary(block + b"\0")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "ends inside a varint"),
        ("0171122000" + "00" * 31, "codec dag-cbor does not describe files"),
        ("01551340" + "00" * 64, "hash sha2-512 is not supported"),
        ("0155d51c20" + "00" * 32, "hash 0xe55 is not supported"),
        ("01551221" + "00" * 33, "sha2-256 digest must have 32 bytes"),
        ("1220" + "00" * 31, "31 bytes instead of the stated 32"),
        ("1221" + "00" * 33, "must be of version 0 or 1, not 18"),
        ("0155138101" + "00" * 129, "digest must have at most 128 bytes"),
        ("0155" + "00" + "8101" + "00" * 129, "identity digest must have at most 128 bytes"),
        ("01551220" + "00" * 33, "other bytes follow"),
        ("0155" + "9220" + "00" * 33, "is not supported"),
        ("0155" + "9200" + "20" + "00" * 32, "shortest form"),
    ],
)
def test_other_bytes_are_refused_with_a_reason(data: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        Cid.from_binary(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        ("0171" + "1220" + "00" * 32, "codec dag-cbor does not describe files"),
        ("0155" + "1340" + "00" * 64, "hash sha2-512 is not supported"),
        ("0172" + "00" + "02" + "0801", "codec libp2p-key does not describe files"),
        (TEST_HEX, ""),
    ],
)
def test_reading_accepts_any_codec_and_hash_and_says_what_is_not_supported(data: str, refusal: str) -> None:
    block = bytes.fromhex(data)
    cid, end = Cid.read(block)
    assert (end, cid.binary, cid.refusal) == (len(block), block, refusal)


def test_all_versions_and_codecs_of_a_block_have_one_multihash() -> None:
    old = Cid.parse(HELLO_V0)
    assert old.multihash == old.to_v1().multihash == b"\x12\x20" + old.digest
    assert Cid(1, RAW, IDENTITY, b"ab").multihash == b"\x00\x02ab"


def test_a_block_matches_its_own_identifier_only() -> None:
    cid = cid_of(b"test", RAW)
    assert cid.text == TEST_CID
    assert cid.matches(b"test")
    assert not cid.matches(b"Test")
    assert Cid(1, RAW, IDENTITY, b"test").matches(b"test")
    assert not Cid(1, RAW, IDENTITY, b"test").matches(b"tes")
    assert not Cid(1, RAW, 0x1E, TEST_SHA256).matches(b"test")
    hello = bytes.fromhex("0a110802120b68656c6c6f20776f726c64180b")
    assert cid_of(hello, DAG_PB, version=0).text == HELLO_V0


@given(st.binary(max_size=80))
def test_any_bytes_are_read_to_one_binary_form_or_refused(data: bytes) -> None:
    try:
        cid, end = Cid.read(data)
    except MalformedError:
        return
    assert cid.binary == data[:end]
