"""Making a pin from fake hubs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelfetch.errors import AuthorizationError, IntegrityError, UnavailableError, UsageError
from modelfetch.model.manifest import FileSpec, ModelScopeRepo, PinOrigin
from modelfetch.model.parse import load_manifest
from modelfetch.model.reference import DiskReference, GithubReference, Reference, RepoReference
from modelfetch.model.write import manifest_toml
from modelfetch.pins.digests import StoreDigests
from modelfetch.pins.pin import Pin, PinRequest, make_pin
from modelfetch.pins.variants import Variant, VariantsError
from modelfetch.store import Store
from modelfetch.upstreams.base import Listing
from tests.pins.fakes import COMMIT, HF, MS, FakeUpstream, hf_listing, ms_listing, plain, sha256, stated

CONTENTS = {"config.json": b"{}", "a.txt": b"text"}


class Hubs:
    """Fake hubs by reference, and digests that keep nothing."""

    def __init__(self, root: Path) -> None:
        self.digests = StoreDigests(Store(root), keep=False)
        self.upstreams: dict[Reference, FakeUpstream] = {}

    def serve(
        self, listing: Listing, contents: Mapping[str, bytes] = CONTENTS, reference: Reference | None = None
    ) -> FakeUpstream:
        upstream = FakeUpstream(listing, contents)
        self.upstreams[reference or listing.reference] = upstream
        return upstream

    def pin(self, *references: Reference, choose: object = None, check: object = None, **more: object) -> Pin:
        request = PinRequest(references or (HF,), **more)  # type: ignore[arg-type]
        options = {"choose": choose} | ({"check_name": check} if check else {})
        return make_pin(request, self.upstreams.__getitem__, self.digests, **options)  # type: ignore[arg-type]


@pytest.fixture
def hubs(tmp_path: Path) -> Hubs:
    return Hubs(tmp_path / "cache")


def test_stated_digests_are_taken_and_the_others_computed(hubs: Hubs) -> None:
    hub = hubs.serve(hf_listing(stated("model.safetensors"), plain("config.json")))
    pin = hubs.pin()
    assert pin.manifest.files == (
        FileSpec("config.json", 2, sha256(b"{}")),
        FileSpec("model.safetensors", 7, sha256(b"weights")),
    )
    assert [one.stated_by for one in pin.files] == [(), ("huggingface",)]
    assert hub.opened == ["config.json"]
    assert pin.fetched == 2
    assert (pin.manifest.name, pin.manifest.version) == ("repo", COMMIT[:12])
    assert pin.manifest.format == "safetensors"
    assert pin.manifest.license == "MIT"
    assert pin.manifest.upstream is not None
    assert pin.manifest.upstream.stated == "huggingface"
    assert pin.manifest.upstream.ref == "hf:org/Repo"
    assert len(pin.manifest.upstream.added) == 10


def test_trust_on_first_use_is_said_plainly(hubs: Hubs) -> None:
    hubs.serve(hf_listing(stated("w"), plain("config.json")))
    [notice] = hubs.pin().notices
    source = "from the bytes of hf:org/Repo alone, which match their git blob ids (trust on first use)"
    assert notice == f"no hub states the SHA-256 of 1 file (2 B): computed here {source}"
    assert hubs.pin().first_use == notice
    hubs.serve(hf_listing(stated("w")))
    assert (hubs.pin().notices, hubs.pin().first_use) == ((), "")


def test_a_pin_of_which_nobody_states_a_digest_is_marked_computed(hubs: Hubs) -> None:
    hubs.serve(hf_listing(plain("config.json", size=None, git_blob=None), revision=""))
    pin = hubs.pin()
    assert pin.manifest.upstream is not None
    assert pin.manifest.upstream.stated == "computed"
    assert pin.manifest.files[0].size == 2
    assert pin.manifest.version == pin.manifest.identity[:12]


def test_bytes_that_are_not_the_stated_git_blob_are_refused(hubs: Hubs) -> None:
    hubs.serve(hf_listing(plain("config.json", b"[]")))
    with pytest.raises(IntegrityError, match="git blob id"):
        hubs.pin()


def test_two_hubs_become_two_sources_of_one_manifest(hubs: Hubs) -> None:
    first = hubs.serve(hf_listing(stated("w"), plain("config.json")))
    second = hubs.serve(ms_listing(stated("w"), stated("config.json", b"{}"), license="Apache-2.0"))
    pin = hubs.pin(HF, MS)
    assert (first.opened, second.opened, pin.fetched) == (["config.json"], [], 2)
    assert pin.manifest.modelscope == ModelScopeRepo("org/Repo", "master")
    assert pin.manifest.huggingface is not None
    assert pin.manifest.upstream is not None
    assert pin.manifest.upstream.stated == "huggingface, modelscope"
    assert pin.manifest.license == "MIT"
    assert pin.notices == ("ms:org/Repo agrees with hf:org/Repo on 2 files by SHA-256",)


@pytest.mark.parametrize("order", [(HF, MS), (MS, HF)])
def test_a_small_file_that_differs_between_hubs_is_refused(hubs: Hubs, order: tuple[Reference, ...]) -> None:
    hub = hubs.serve(hf_listing(stated("w"), plain("config.json")))
    hubs.serve(ms_listing(stated("w"), stated("config.json", b"[]")))
    with pytest.raises(IntegrityError) as caught:
        hubs.pin(*order)
    assert f"hf:org/Repo has SHA-256 {sha256(b'{}')}, 2 bytes" in str(caught.value)
    assert f"ms:org/Repo has SHA-256 {sha256(b'[]')}, 2 bytes" in str(caught.value)
    assert hub.opened == ["config.json"]
    assert hubs.pin(*order, exclude=("config.json",)).fetched == 0


def test_small_files_of_a_hub_that_refuses_access_are_compared_by_size(hubs: Hubs) -> None:
    hub = hubs.serve(hf_listing(stated("w"), plain("config.json")))
    hub.refusal = AuthorizationError("gated")
    hubs.serve(ms_listing(stated("w"), stated("config.json", b"{}")))
    pin = hubs.pin(HF, MS)
    words = "ms:org/Repo agrees with hf:org/Repo on 1 file by SHA-256 and on 1 file by size alone"
    assert (pin.notices, pin.fetched) == ((words,), 0)


def test_two_repositories_of_one_hub_are_refused(hubs: Hubs) -> None:
    other = RepoReference("hf", "org/Other")
    hubs.serve(hf_listing(stated("w")))
    hubs.serve(hf_listing(stated("w"), reference=other))
    with pytest.raises(UsageError, match="are on the same hub"):
        hubs.pin(HF, other)


def test_a_name_that_is_taken_is_refused_before_anything_is_read(hubs: Hubs) -> None:
    hub = hubs.serve(hf_listing(plain("config.json")))

    def taken(name: str, _: PinRequest) -> None:
        raise UsageError(f"{name} is taken")

    with pytest.raises(UsageError, match="repo is taken"):
        hubs.pin(check=taken)
    assert hub.opened == []


def test_what_a_person_says_overrides_what_the_hub_states(hubs: Hubs) -> None:
    hubs.serve(hf_listing(stated("w"), stated("x")))
    pin = hubs.pin(name="mine", license="Apache-2.0", include=("w",))
    assert (pin.manifest.name, pin.manifest.license) == ("mine", "Apache-2.0")
    assert pin.manifest.upstream is not None
    assert pin.manifest.upstream.include == ("w",)


def test_several_variants_are_refused_with_their_list_or_chosen(hubs: Hubs) -> None:
    hubs.serve(hf_listing(stated("m-Q4_0.gguf"), stated("m-Q8_0.gguf"), plain("config.json"), name="M-GGUF"))
    with pytest.raises(VariantsError) as caught:
        hubs.pin()
    assert [variant.label for variant in caught.value.variants] == ["Q4_0", "Q8_0"]

    def last(variants: Sequence[Variant]) -> Variant:
        return variants[-1]

    pin = hubs.pin(choose=last)
    assert pin.manifest.name == "m-q8_0"
    assert [file.path for file in pin.manifest.files] == ["m-Q8_0.gguf"]
    assert pin.manifest.upstream is not None
    assert pin.manifest.upstream.include == ("*Q8_0*",)
    assert hubs.pin(include=("*Q4*",)).manifest.name == "m-gguf"
    assert len(hubs.pin(exclude=("*Q4*",)).manifest.files) == 2


def test_a_page_of_a_folder_is_pinned_as_its_patterns(hubs: Hubs) -> None:
    page = replace(HF, revision="main", tail="onnx")
    found = replace(HF, revision="main")
    hubs.serve(
        hf_listing(stated("onnx/m.onnx"), stated("w"), reference=found, include=("onnx/*",)), reference=page
    )
    pin = hubs.pin(page)
    assert pin.manifest.upstream is not None
    assert (pin.manifest.upstream.ref, pin.manifest.upstream.include) == ("hf:org/Repo@main", ("onnx/*",))
    with pytest.raises(UsageError, match="--include cannot narrow"):
        hubs.pin(page, include=("*.onnx",))


def test_a_pattern_in_the_reference_is_not_stated_twice(hubs: Hubs) -> None:
    release = GithubReference("o/r", "v1", "*.onnx")
    files = stated("m.onnx"), stated("n.onnx"), stated("w")
    hubs.serve(Listing(release, "v1", files, "github", "r", include=("*.onnx",)))
    whole, part = hubs.pin(release), hubs.pin(release, include=("m*",))
    assert whole.manifest.upstream is not None
    assert (whole.manifest.upstream.ref, whole.manifest.upstream.include) == ("gh:o/r@v1:*.onnx", ())
    assert [file.path for file in part.manifest.files] == ["m.onnx"]


def test_many_files_are_read_at_the_same_time(hubs: Hubs) -> None:
    contents = {f"{number}.json": b"%d" % number for number in range(50)}
    hub = hubs.serve(hf_listing(*(plain(path, data) for path, data in contents.items())), contents)
    pin = hubs.pin()
    assert {file.path: file.sha256 for file in pin.manifest.files} == {
        path: sha256(data) for path, data in contents.items()
    }
    assert len(hub.opened) == 50


def test_the_first_failure_of_many_ends_all(hubs: Hubs) -> None:
    contents = {f"{number:03}": b"%d" % number for number in range(500)}
    hub = hubs.serve(
        hf_listing(*(plain(path, data) for path, data in contents.items())), contents | {"001": b""}
    )
    with pytest.raises(IntegrityError, match="'001'"):
        hubs.pin()
    assert len(hub.opened) <= 500


def test_a_directory_is_pinned_under_its_absolute_path(hubs: Hubs) -> None:
    here = DiskReference("y/../x")
    file = plain("a.txt", b"text", git_blob=None, disk=Path("x/a.txt"))
    hubs.serve(Listing(here, "", (file,), "computed", "x"))
    pin = hubs.pin(here)
    assert pin.manifest.upstream is not None
    assert Path(pin.manifest.upstream.ref) == Path.cwd() / "x"
    assert pin.notices == ("the SHA-256 of 1 file (4 B) is that of the files on this disk as they are now",)
    assert pin.fetched == 0


def test_what_is_pinned_can_be_written_and_read(hubs: Hubs) -> None:
    hostile = "Title\x1b[31m\nwith ::set-env:: lines" + "x" * 2000
    hubs.serve(hf_listing(stated("w", executable=True), plain("config.json"), title=hostile, license="a\nb"))
    manifest = hubs.pin(exclude=("config.json",)).manifest
    assert load_manifest(Path("repo.toml"), manifest_toml(manifest).encode()) == manifest
    assert manifest.files[0].executable
    assert manifest.upstream is not None
    added = manifest.upstream.added
    assert manifest.upstream == PinOrigin("hf:org/Repo", (), ("config.json",), added, "huggingface")


def test_what_no_manifest_can_hold_is_refused_before_it_is_written(hubs: Hubs) -> None:
    hubs.serve(hf_listing(stated("a"), stated("b", size=6)))
    with pytest.raises(UnavailableError, match="another file has the same sha256") as caught:
        hubs.pin()
    assert "'hf:org/Repo' states what no manifest can hold" in caught.value.message
