"""Where settings come from: precedence and origin of each, the project's file, the environment, faults."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import tomli_w

from modelfetch.catalog import Catalog
from modelfetch.errors import ConfigError
from modelfetch.settings import SETTINGS, Loaded, Secret, Setting, load
from modelfetch.settings.config_files import SIZE_CAP, find_project, read_toml, trusted_owners
from modelfetch.settings.layers import is_of_a_service
from modelfetch.settings.locations import require_home
from modelfetch.settings.table import BY_NAME, ENVIRONMENT, RUN_SETTINGS

SAMPLES: Mapping[str, tuple[str, str, str, str]] = {
    "sources.order": ("local,url", "url", "ipfs,url", "mirror"),
    "sources.mirrors": (
        "https://u.example/{path}",
        "https://p.example/{path}",
        "none",
        "http://f.example/{sha256}",
    ),
    "sources.peers": ("u.example", "p.example", "none", "https://f.example,10.0.0.2:9000"),
    "sources.local": ("/u", "/p", "none", "/f,~/g"),
    "ipfs.gateways": (
        "https://u.example",
        "https://p.example",
        "none",
        "https://f.example,https://g.example",
    ),
    "huggingface.endpoint": (
        "https://u.example",
        "https://p.example",
        "https://e.example",
        "https://f.example",
    ),
    "modelscope.endpoint": (
        "https://u.example",
        "https://p.example",
        "https://e.example",
        "https://f.example",
    ),
    "network.files": ("1", "2", "3", "5"),
    "network.connections": ("1", "2", "3", "5"),
    "network.connect_timeout": ("1", "2.5", "3", "5"),
    "network.stall_timeout": ("1", "2.5", "3", "5"),
    "network.min_speed": ("2 KiB", "1", "3k", "0"),
    "network.limit_rate": ("1M", "2M", "3M", "500"),
    "retry.attempts": ("1", "2", "3", "6"),
    "retry.base": ("1", "2", "3", "0.25"),
    "retry.cap": ("1", "2", "3", "5.5"),
    "retry.retry_after_cap": ("1", "2", "0", "5"),
    "cache.fsync": ("false", "true", "false", "true"),
    "cache.partial_days": ("1", "2", "3", "0"),
    "cache.quarantine_days": ("1", "2", "3", "0"),
    "cache.version_days": ("1", "2", "3", "0"),
    "cache.warn_size": ("1G", "2 GiB", "3G", "0"),
    "cache.max_age_days": ("1", "2", "3", "0"),
    "cache.stale_days": ("1", "2", "3", "0"),
    "cache.chunk_maps": ("always", "auto", "never", "always"),
    "history.days": ("1", "2", "3", "0"),
    "lan.enabled": ("true", "false", "true", "false"),
    "swarm.enabled": ("true", "false", "true", "false"),
    "swarm.port": ("1", "2", "3", "0"),
    "swarm.trackers": (
        "udp://u.example:1",
        "udp://p.example:1",
        "none",
        "https://f.example,udp://g.example:1",
    ),
    "swarm.peers": ("10.0.0.1:1", "10.0.0.2:1", "none", "a.example:1,b.example:2"),
    "swarm.upload_rate": ("1M", "2M", "3M", "500"),
    "swarm.readers": ("1", "2", "3", "4"),
    "serve.jobs": ("1", "3", "4", "5"),
    "serve.share_clients": ("1", "3", "4", "5"),
    "serve.share_rate": ("1M", "2M", "3M", "500"),
}
"""For each setting what the user's file, the project's file, the environment and the flag say."""


@dataclasses.dataclass
class Machine:
    """A home, a project and an environment in a directory of the test's own."""

    root: Path
    environ: dict[str, str]

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def user_config(self) -> Path:
        return self.home / "settings" / "config.toml"

    @property
    def project_file(self) -> Path:
        return self.project / "modelfetch.toml"

    def load(self, flags: Mapping[str, object] | None = None, cwd: str = ".") -> Loaded:
        return load(flags=flags or {}, environ=self.environ, cwd=self.project / cwd)

    def fault(self, flags: Mapping[str, object] | None = None) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(flags)
        assert caught.value.exit_code == 2
        assert caught.value.hint
        return caught.value.message


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    environ = {
        "HOME": str(tmp_path / "home"),
        "USERPROFILE": str(tmp_path / "home"),
        "MODELFETCH_CONFIG": str(tmp_path / "home" / "settings" / "config.toml"),
        "MODELFETCH_CACHE_DIR": str(tmp_path / "cache"),
    }
    machine = Machine(tmp_path, environ)
    machine.user_config.parent.mkdir(parents=True)
    machine.user_config.write_text("")
    machine.project.mkdir()
    return machine


def write(path: Path, setting: Setting, text: str) -> None:
    path.write_text(tomli_w.dumps({setting.section: {setting.key: setting.form.from_text(text)}}))


@pytest.mark.quick(every=4)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_precedence_and_origin_of_every_setting(setting: Setting, machine: Machine) -> None:
    """Default, user's file, project's file, environment, flag: each wins over all before it, and is named."""
    user, project, variable, flag = SAMPLES[setting.name]

    def expect(value: str, origin: str, flags: Mapping[str, object] | None = None) -> None:
        loaded = machine.load(flags)
        assert loaded.settings.value(setting.name) == setting.form.validate(setting.form.from_text(value))
        assert loaded.origins[setting.name] == origin
        assert loaded.origins.keys() >= {row.name for row in SETTINGS}

    loaded = machine.load()
    assert (loaded.settings.value(setting.name), loaded.origins[setting.name]) == (setting.default, "default")
    write(machine.user_config, setting, user)
    expect(user, f"user config {machine.user_config}")
    write(machine.project_file, setting, project)
    if setting.project == "any":
        expect(project, f"project file {machine.project_file}")
    else:  # all of these are beyond the user's
        expect(user, f"user config {machine.user_config}")
        notice, *_ = machine.load().notices
        assert notice.startswith(f"project file {machine.project_file} sets {setting.name}")
        assert notice.endswith("; it is ignored.")
    machine.environ[setting.variable] = variable
    expect(variable, f"environment {setting.variable}")
    origin = f"flag {setting.flag}" if setting.flag else f"argument {setting.name}"
    expect(flag, origin, {setting.name: flag})
    expect(variable, f"environment {setting.variable}", {setting.name: None})


def test_flags_may_be_given_as_values_too(machine: Machine) -> None:
    loaded = machine.load({"network.files": 7, "sources.order": ["url"], "network.limit_rate": "8M"})
    assert loaded.settings.network.files == 7
    assert loaded.settings.sources.order == ("url",)
    assert loaded.settings.network.limit_rate == 8_000_000


def test_an_empty_variable_counts_as_not_set(machine: Machine) -> None:
    machine.environ |= {"MODELFETCH_NETWORK_FILES": " ", "MODELFETCH_OFFLINE": "", "HF_ENDPOINT": ""}
    loaded = machine.load()
    assert loaded.settings.network.files == 4
    assert loaded.origins["network.files"] == loaded.origins["offline"] == "default"


def test_a_list_is_replaced_whole(machine: Machine) -> None:
    machine.user_config.write_text('[sources]\nmirrors = ["https://u.example/{path}"]\n')
    machine.project_file.write_text("[sources]\nmirrors = []\n")
    assert machine.load().settings.sources.mirrors == ()


# Cache, offline, the user's file


def test_the_cache_directory_has_an_origin_and_may_be_relative(machine: Machine) -> None:
    assert machine.load().cache_dir == machine.root / "cache"
    assert machine.load().origins["cache_dir"] == "environment MODELFETCH_CACHE_DIR"
    loaded = machine.load({"cache_dir": Path("here")})
    assert (loaded.cache_dir, loaded.origins["cache_dir"]) == (machine.project / "here", "flag --cache-dir")
    assert machine.fault({"cache_dir": "a\0b"}).startswith(
        "flag --cache-dir: expected the path of a directory"
    )


def test_a_tilde_that_no_shell_expanded_is_the_home_directory(machine: Machine) -> None:
    machine.environ |= {"MODELFETCH_CACHE_DIR": "~/models", "MODELFETCH_CONFIG": "~/mine.toml"}
    loaded = machine.load()
    assert loaded.cache_dir == machine.home / "models"
    assert loaded.user_config == machine.home / "mine.toml"
    assert loaded.catalog_user == machine.home / "catalog"


@pytest.mark.skipif(os.name == "nt", reason="XDG directories are of POSIX systems")
@pytest.mark.parametrize("xdg", ["absolute", "relative", None])
@pytest.mark.parametrize("home", ["home", "home//", None])
def test_without_variables_the_directories_of_the_system_are_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, xdg: str | None, home: str | None
) -> None:
    platformdirs = pytest.importorskip("platformdirs")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
        if name != "HOME" and xdg is not None:
            monkeypatch.setenv(name, str(machine.root / name) if xdg == "absolute" else name)
    if home is not None:
        monkeypatch.setenv("HOME", f"{machine.root}/{home}")
    for name in ("MODELFETCH_CACHE_DIR", "MODELFETCH_CONFIG"):
        del machine.environ[name]
    loaded = machine.load()
    assert loaded.user_config == platformdirs.user_config_path("modelfetch") / "config.toml"
    assert loaded.cache_dir == platformdirs.user_cache_path("modelfetch")
    assert loaded.origins["cache_dir"] == "default"
    assert loaded.notices == ()


def test_without_a_home_directory_the_error_says_what_to_set() -> None:
    def unknown() -> Path:
        raise RuntimeError("could not determine the home directory")

    for find in (unknown, lambda: Path("~/.cache/modelfetch")):
        with pytest.raises(ConfigError, match="no home directory is known for the cache") as caught:
            require_home(find, "cache")
        assert "MODELFETCH_CACHE_DIR" in caught.value.hint


def test_offline(machine: Machine) -> None:
    assert machine.load().offline is False
    machine.environ["MODELFETCH_OFFLINE"] = "1"
    assert machine.load().offline is True
    assert machine.load().origins["offline"] == "environment MODELFETCH_OFFLINE"
    assert machine.load({"offline": False}).offline is False
    machine.environ["MODELFETCH_OFFLINE"] = "perhaps"
    assert machine.fault() == "environment MODELFETCH_OFFLINE: expected true or false, not 'perhaps'"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_word_of_the_hugging_face_libraries_that_there_is_no_network(name: str, machine: Machine) -> None:
    for text in ("1", "true", "Yes", "ON"):
        machine.environ[name] = text
        assert (machine.load().offline, machine.load().origins["offline"]) == (True, f"environment {name}")
    assert machine.load({"offline": False}).offline is False
    machine.environ["MODELFETCH_OFFLINE"] = "0"
    assert machine.load().origins["offline"] == "environment MODELFETCH_OFFLINE"
    assert machine.load().offline is False
    del machine.environ["MODELFETCH_OFFLINE"]
    for text in ("0", "false", "", "2"):  # as the libraries read it: anything else is no
        machine.environ[name] = text
        assert (machine.load().offline, machine.load().origins["offline"]) == (False, "default")


def test_a_setting_without_effect_is_one_notice_with_its_origin(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lan.enabled", "serve.jobs"):
        monkeypatch.setitem(BY_NAME, name, dataclasses.replace(BY_NAME[name], is_idle=True))
    assert machine.load().notices == ()
    machine.user_config.write_text("[lan]\nenabled = true\n")
    machine.environ["MODELFETCH_SERVE_JOBS"] = "3"
    [notice] = machine.load().notices
    assert notice == (
        f"no effect yet: lan.enabled (user config {machine.user_config}), "
        "serve.jobs (environment MODELFETCH_SERVE_JOBS)"
    )


@pytest.mark.parametrize("given", ["", None])
def test_an_empty_flag_is_none(given: str | None, machine: Machine) -> None:
    """A shell makes it of a variable that is not set; it is not the working directory."""
    assert machine.load({"cache_dir": given}).cache_dir == machine.root / "cache"
    assert machine.load({"cache_dir": "."}).cache_dir == machine.project


def test_the_given_file_wins_over_the_variable(machine: Machine) -> None:
    other = machine.root / "other.toml"
    other.write_text("[network]\nfiles = 9\n")
    loaded = load(flags={}, environ=machine.environ, cwd=machine.project, config_file=other)
    assert loaded.settings.network.files == 9
    assert loaded.user_config == other


def test_a_named_file_that_does_not_exist_counts_as_empty_with_a_notice(machine: Machine) -> None:
    machine.user_config.unlink()
    loaded = machine.load()
    assert loaded.origins["network.files"] == "default"
    assert [str(machine.user_config) in notice for notice in loaded.notices] == [True]


# Directories that are not to be had


@pytest.fixture(params=["locked", "looped"])
def closed_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A home that cannot be entered: that of another user, or (which stops root, too) links in a circle."""
    home = tmp_path / "theirs"
    if request.param == "looped":
        home.symlink_to(home)
        yield home
    elif os.name == "nt" or os.geteuid() == 0:
        pytest.skip("root may enter every directory")
    else:
        home.mkdir(mode=0)
        yield home
        home.chmod(0o700)


def test_a_home_that_cannot_be_entered_is_none(machine: Machine, closed_home: Path) -> None:
    """Nothing of another user's home is read, and nothing fails for that."""
    config = closed_home / ".config" / "modelfetch" / "config.toml"
    machine.environ |= {"HOME": str(closed_home), "USERPROFILE": str(closed_home)}
    machine.environ["MODELFETCH_CONFIG"] = str(config)
    loaded = machine.load()
    assert (loaded.user_config, loaded.hf_token) == (config, None)
    assert [str(config) in notice for notice in loaded.notices] == [True], "for it was named"
    assert Catalog.open(user=loaded.catalog_user, project=(), environment=()).names()


@pytest.fixture
def homeless(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A process of a user without an account, in a container that names no home."""
    for name in ("HOME", "USERPROFILE", "MODELFETCH_CONFIG"):
        machine.environ.pop(name, None)
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "relative")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    return machine


def test_without_a_home_there_is_no_file_of_the_user_and_nothing_else_is_missing(homeless: Machine) -> None:
    loaded = homeless.load()
    assert loaded.cache_dir == homeless.root / "cache"
    assert not loaded.user_config.exists()
    assert not loaded.hf_cache.exists()
    assert (loaded.hf_token, loaded.notices) == (None, ())
    assert Catalog.open(user=loaded.catalog_user, project=(), environment=()).names()


def test_a_path_that_needs_a_home_directory_is_an_error_without_one(homeless: Machine) -> None:
    homeless.environ["MODELFETCH_CACHE_DIR"] = "~/models"
    assert "'models' cannot be found: the home directory is unknown" in homeless.fault()
    del homeless.environ["MODELFETCH_CACHE_DIR"]
    assert homeless.fault() == "no home directory is known for the cache"


def test_a_removed_working_directory_counts_as_none(machine: Machine) -> None:
    def load_anywhere(**environ: str) -> Loaded:
        return load(flags={}, environ=machine.environ | environ, cwd=None)

    loaded = load_anywhere()
    assert (loaded.project_file, loaded.catalog_project) == (None, ())
    assert loaded.cache_dir == machine.root / "cache"
    for name in ("MODELFETCH_CACHE_DIR", "MODELFETCH_CONFIG", "MODELFETCH_CATALOG"):
        with pytest.raises(ConfigError, match="'near' cannot be found: the working directory"):
            load_anywhere(**{name: "near"})


# The project's file


def test_the_project_is_the_nearest_one_upwards(machine: Machine) -> None:
    machine.project_file.write_text('models = ["outer"]\n')
    inner = machine.project / "a" / "b"
    inner.mkdir(parents=True)
    (machine.project / "a" / "b" / "c").mkdir()
    assert machine.load(cwd="a/b/c").models == ("outer",)
    (inner / "modelfetch.toml").write_text('models = ["inner"]\n')
    loaded = machine.load(cwd="a/b/c")
    assert (loaded.project_file, loaded.models) == (inner / "modelfetch.toml", ("inner",))
    assert machine.load(cwd="a").project_file == machine.project_file


def test_every_file_looked_at_is_listed_present_or_not(machine: Machine) -> None:
    machine.project_file.write_text("")
    deep = machine.project / "a"
    deep.mkdir()
    loaded = machine.load(cwd="a")
    assert loaded.consulted == (machine.user_config, deep / "modelfetch.toml", machine.project_file)
    machine.project_file.unlink()
    assert machine.load(cwd="a").consulted[-1] == Path(deep.anchor) / "modelfetch.toml"


def test_a_directory_of_the_name_is_no_project(machine: Machine) -> None:
    machine.project_file.mkdir()
    assert machine.load().project_file is None


def test_catalogs_of_project_and_environment(machine: Machine) -> None:
    """The project's are relative to its file, the environment's to the working directory."""
    (machine.project / "sub").mkdir()
    absolute = machine.root / "far"
    machine.project_file.write_text(tomli_w.dumps({"catalog": ["models", "one.toml", str(absolute)]}))
    machine.environ["MODELFETCH_CATALOG"] = os.pathsep.join(["near", "", str(absolute), "~/mine"])
    loaded = machine.load(cwd="sub")
    assert loaded.catalog_user == machine.user_config.parent / "catalog"
    assert loaded.catalog_project == (machine.project / "models", machine.project / "one.toml", absolute)
    assert loaded.catalog_environment == (machine.project / "sub" / "near", absolute, machine.home / "mine")


def test_a_project_may_not_choose_the_cache(machine: Machine) -> None:
    machine.project_file.write_text('cache_dir = "/etc"\n[cache]\ncache_dir = "/etc"\n')
    assert "2 settings are wrong" in machine.fault()


def test_a_users_file_has_no_models(machine: Machine) -> None:
    machine.user_config.write_text('models = ["x"]\n')
    assert "belongs at the top of a project's modelfetch.toml" in machine.fault()


@pytest.mark.skipif(os.name == "nt", reason="owners of POSIX systems")
def test_a_file_of_another_user_is_ignored_with_a_notice(tmp_path: Path) -> None:
    """Seen from a user who owns neither file."""
    outer, inner = tmp_path / "modelfetch.toml", tmp_path / "a" / "modelfetch.toml"
    inner.parent.mkdir()
    for file in (outer, inner):
        file.write_text("")
    owner = inner.stat().st_uid
    strangers, own = {owner + 1}, {owner}
    search = find_project(inner.parent, strangers)
    assert (search.found, search.visited[:2]) == (None, (inner, outer))
    assert [str(file) in notice for file, notice in zip((inner, outer), search.notices, strict=True)] == [
        True,
        True,
    ]
    assert "MODELFETCH_CATALOG" in search.notices[0]
    assert find_project(inner.parent, own).found == find_project(inner.parent, None).found == inner
    with pytest.raises(ValueError, match="belongs to another user"):  # swapped after the look
        read_toml(inner, strangers)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_a_link_counts_by_itself_and_by_what_it_leads_to(tmp_path: Path) -> None:
    theirs, link = tmp_path / "theirs.toml", tmp_path / "modelfetch.toml"
    theirs.write_text("")
    link.symlink_to(theirs)
    assert find_project(tmp_path, {0}).found == link
    os.chown(theirs, 12345, -1)
    assert find_project(tmp_path, {0}).found is None
    os.chown(theirs, 0, -1)
    os.lchown(link, 12345, -1)
    assert find_project(tmp_path, {0}).found is None


@pytest.mark.skipif(os.name == "nt", reason="owners of POSIX systems")
@pytest.mark.parametrize(("caller", "more"), [("", []), ("1234", [1234]), ("x", []), ("-1", [])])
def test_files_of_the_user_of_root_and_of_who_called_sudo_count(caller: str, more: list[int]) -> None:
    user = os.geteuid()
    assert trusted_owners({"SUDO_UID": caller}) == {user, 0, *(more if user == 0 else [])}


PATIENCE = """
[network]
connect_timeout = 5
stall_timeout = 30
limit_rate = "8M"
min_speed = "1 KiB"
files = 9
[retry]
attempts = 5
retry_after_cap = 0
"""


def test_a_project_may_be_less_patient_than_its_user_but_not_more(machine: Machine) -> None:
    machine.project_file.write_text(PATIENCE)
    loaded = machine.load()
    assert loaded.notices == ()
    assert (loaded.settings.network.connect_timeout, loaded.settings.network.limit_rate) == (5, 8_000_000)
    machine.user_config.write_text('[network]\nstall_timeout = 20\nlimit_rate = "1M"\nmin_speed = "2 KiB"\n')
    loaded = machine.load()
    network = loaded.settings.network
    assert (network.stall_timeout, network.limit_rate, network.min_speed) == (20, 1_000_000, 2048)
    assert network.files == 9
    assert [notice.partition(" sets ")[2] for notice in loaded.notices] == [
        "network.stall_timeout to 30, beyond your own 20; it is ignored.",
        "network.limit_rate to 8000000, beyond your own 1000000; it is ignored.",
        "network.min_speed to 1024, beyond your own 2048; it is ignored.",
    ]
    machine.project_file.write_text('[network]\nlimit_rate = "none"\n')
    assert machine.load().settings.network.limit_rate == 1_000_000


def test_no_setting_is_open_to_a_project_by_oversight() -> None:
    """A new row must be looked at: what a project may set freely is listed here."""
    assert [setting.name for setting in SETTINGS if setting.project == "any"] == [
        "sources.order",
        "sources.mirrors",
        "ipfs.gateways",
        "huggingface.endpoint",
        "modelscope.endpoint",
        "network.files",
        "network.connections",
    ]


def test_places_that_cannot_be_looked_at_have_no_project() -> None:
    assert find_project(Path(Path.cwd().anchor, "x" * 5000), None).found is None


# Hugging Face


def test_hf_endpoint_is_overridden_by_modelfetch_huggingface_endpoint(machine: Machine) -> None:
    machine.project_file.write_text('[huggingface]\nendpoint = "https://p.example"\n')
    machine.environ["HF_ENDPOINT"] = "https://hf.example/"
    loaded = machine.load()
    assert loaded.settings.huggingface.endpoint == "https://hf.example"
    assert loaded.origins["huggingface.endpoint"] == "environment HF_ENDPOINT"
    machine.environ["MODELFETCH_HUGGINGFACE_ENDPOINT"] = "https://ours.example"
    loaded = machine.load()
    assert loaded.settings.huggingface.endpoint == "https://ours.example"
    assert loaded.origins["huggingface.endpoint"] == "environment MODELFETCH_HUGGINGFACE_ENDPOINT"


def test_a_bad_hf_endpoint_is_named(machine: Machine) -> None:
    machine.environ["HF_ENDPOINT"] = "hf.example"
    assert machine.fault() == "environment HF_ENDPOINT: 'hf.example' must start with https:// or http://"


TOKEN = "hf_" + "s3cretT0ken" * 3


def stored(machine: Machine, path: str) -> Path:
    file = machine.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{TOKEN}\n")
    return file


def test_the_token_of_the_environment(machine: Machine) -> None:
    stored(machine, "home/.cache/huggingface/token")
    machine.environ["HF_TOKEN"] = " other-token\n"
    loaded = machine.load()
    assert loaded.hf_token is not None
    assert loaded.hf_token.reveal() == "other-token"
    assert loaded.origins["hf_token"] == "environment HF_TOKEN"


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "home/.cache/huggingface/token"),
        ({"HF_TOKEN": " "}, "home/.cache/huggingface/token"),
        ({"XDG_CACHE_HOME": "{root}/xdg"}, "xdg/huggingface/token"),
        ({"XDG_CACHE_HOME": "{root}/xdg", "HF_HOME": "~/hf"}, "home/hf/token"),
        ({"HF_HOME": "$PLACE/hf", "PLACE": "{root}/p"}, "p/hf/token"),
        ({"HF_HOME": "{root}/hf", "HF_TOKEN_PATH": "{root}/t"}, "t"),
    ],
)
def test_the_token_file_of_the_hugging_face_libraries(
    environ: Mapping[str, str], path: str, machine: Machine
) -> None:
    machine.environ |= {name: text.replace("{root}", str(machine.root)) for name, text in environ.items()}
    assert machine.load().hf_token is None
    assert machine.load().origins["hf_token"] == "not set"
    file = stored(machine, path)
    loaded = machine.load()
    assert loaded.hf_token is not None
    assert loaded.hf_token.reveal() == TOKEN
    assert loaded.origins["hf_token"] == f"file {file}"


def test_the_older_name_of_the_token_is_known(machine: Machine) -> None:
    machine.environ["HUGGING_FACE_HUB_TOKEN"] = "older"
    assert machine.load().origins["hf_token"] == "environment HUGGING_FACE_HUB_TOKEN"
    machine.environ["HF_TOKEN"] = "newer"
    assert machine.load().origins["hf_token"] == "environment HF_TOKEN"


def test_no_token_is_sent_where_the_libraries_would_send_none(machine: Machine) -> None:
    stored(machine, "home/.cache/huggingface/token")
    machine.environ |= {"HF_TOKEN": "not a token", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    assert machine.load().hf_token is None
    assert machine.load().origins["hf_token"] == "environment HF_HUB_DISABLE_IMPLICIT_TOKEN"


def test_a_token_file_may_begin_with_a_byte_order_mark(machine: Machine) -> None:
    stored(machine, "home/.cache/huggingface/token").write_text(TOKEN, "utf-8-sig")
    loaded = machine.load()
    assert loaded.hf_token is not None
    assert loaded.hf_token.reveal() == TOKEN


@pytest.mark.parametrize("content", [b"two words", b"\xff\xfe", b"x\x1b[2J"])
def test_a_token_file_without_a_token_is_a_notice_and_no_error(content: bytes, machine: Machine) -> None:
    stored(machine, "home/.cache/huggingface/token").write_bytes(content)
    loaded = machine.load()
    assert loaded.hf_token is None
    assert len(loaded.notices) == 1
    assert "none is sent" in loaded.notices[0]


def test_a_token_file_that_is_a_directory_is_a_notice_and_no_error(machine: Machine) -> None:
    (machine.home / ".cache" / "huggingface" / "token").mkdir(parents=True)
    assert "none is sent" in machine.load().notices[0]


def test_an_empty_token_file_is_no_token(machine: Machine) -> None:
    stored(machine, "home/.cache/huggingface/token").write_text("\n")
    assert (machine.load().hf_token, machine.load().notices) == (None, ())


def test_a_token_no_header_can_carry_is_refused_without_being_shown(machine: Machine) -> None:
    machine.environ["HF_TOKEN"] = f"{TOKEN}\nX-Injected: 1"
    message = machine.fault()
    assert "HF_TOKEN" in message
    assert TOKEN not in message


def test_a_token_is_in_no_text(machine: Machine) -> None:
    machine.environ["HF_TOKEN"] = TOKEN
    loaded = machine.load()
    assert loaded.hf_token is not None
    texts = [
        repr(loaded),
        str(loaded),
        repr(loaded.hf_token),
        f"{loaded.hf_token}",
        f"{loaded.hf_token!s:>9}",
    ]
    texts.append(repr(dataclasses.asdict(loaded)))
    assert not [text for text in texts if TOKEN in text]
    assert repr(Secret("x")) == "Secret(***)"


def test_an_endpoint_only_a_project_names_is_not_sent_the_token(machine: Machine) -> None:
    """A cloned repository must not be able to send the user's token to a server of its choice."""
    machine.environ["HF_TOKEN"] = TOKEN
    machine.project_file.write_text('[huggingface]\nendpoint = "https://p.example"\n')
    loaded = machine.load()
    assert loaded.settings.huggingface.endpoint == "https://p.example"
    assert loaded.hf_token is None
    assert loaded.origins["hf_token"] == "withheld"
    assert "your token (environment HF_TOKEN) is not sent there" in loaded.notices[0]
    assert "HF_ENDPOINT" not in loaded.notices[0]  # no advice to send it
    machine.environ["HF_ENDPOINT"] = "https://p.example"
    assert machine.load().hf_token is not None


@pytest.mark.parametrize(
    ("endpoint", "is_sent"),
    [
        ("http://hub.example", False),
        ("http://192.168.1.5:8765", False),
        ("https://hub.example", True),
        ("http://localhost:8765", True),
        ("http://127.0.0.1:8765", True),
        ("http://[::1]:8765", True),
    ],
)
def test_a_token_does_not_cross_a_network_without_tls(machine: Machine, endpoint: str, is_sent: bool) -> None:
    machine.environ |= {"HF_TOKEN": TOKEN, "HF_ENDPOINT": endpoint}
    machine.environ |= {"MODELSCOPE_API_TOKEN": TOKEN, "MODELSCOPE_ENDPOINT": endpoint}
    loaded = machine.load()
    assert (loaded.hf_token is not None, loaded.ms_token is not None) == (is_sent, is_sent)
    assert [("without TLS" in notice) for notice in loaded.notices] == [True, True] * (not is_sent)


def test_the_environment_of_modelscope(machine: Machine) -> None:
    loaded = machine.load()
    assert (loaded.ms_token, loaded.origins["ms_token"]) == (None, "not set")
    assert loaded.settings.modelscope.endpoint == "https://modelscope.cn"
    machine.environ |= {"MODELSCOPE_API_TOKEN": f" {TOKEN}", "MODELSCOPE_ENDPOINT": "www.modelscope.ai"}
    loaded = machine.load()
    assert loaded.ms_token is not None
    assert loaded.ms_token.reveal() == TOKEN
    assert TOKEN not in repr(loaded)
    assert loaded.settings.modelscope.endpoint == "https://www.modelscope.ai"
    assert loaded.origins["modelscope.endpoint"] == "environment MODELSCOPE_ENDPOINT"
    machine.environ["MODELFETCH_MODELSCOPE_ENDPOINT"] = "http://127.0.0.1:1"
    assert machine.load().settings.modelscope.endpoint == "http://127.0.0.1:1"
    machine.environ["MODELSCOPE_API_TOKEN"] = "two words"
    assert machine.fault().startswith("environment MODELSCOPE_API_TOKEN: expected a token")


def test_a_modelscope_endpoint_only_a_project_names_is_not_sent_the_token(machine: Machine) -> None:
    machine.environ["MODELSCOPE_API_TOKEN"] = TOKEN
    machine.project_file.write_text('[modelscope]\nendpoint = "https://p.example"\n')
    loaded = machine.load()
    assert (loaded.ms_token, loaded.origins["ms_token"]) == (None, "withheld")
    assert "your token (environment MODELSCOPE_API_TOKEN) is not sent there" in loaded.notices[0]
    machine.environ["MODELSCOPE_ENDPOINT"] = "https://p.example"
    assert machine.load().ms_token is not None


def test_an_endpoint_the_user_names_too_is_sent_the_token(machine: Machine) -> None:
    machine.environ["HF_TOKEN"] = TOKEN
    for path in (machine.user_config, machine.project_file):
        path.write_text('[huggingface]\nendpoint = "https://p.example"\n')
    assert machine.load().hf_token is not None
    machine.user_config.write_text("")
    machine.project_file.write_text('[huggingface]\nendpoint = "https://huggingface.co"\n')
    assert (machine.load().hf_token is None, machine.load().notices) == (False, ())


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "home/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "{root}/xdg"}, "xdg/huggingface/hub"),
        ({"HF_HOME": "{root}/hf"}, "hf/hub"),
        ({"HF_HOME": "{root}/hf", "HUGGINGFACE_HUB_CACHE": "{root}/old"}, "old"),
        ({"HF_HUB_CACHE": "{root}/hub", "HUGGINGFACE_HUB_CACHE": "{root}/old"}, "hub"),
        ({"HF_HUB_CACHE": "near"}, "project/near"),
    ],
)
def test_the_cache_of_the_hugging_face_libraries(
    environ: Mapping[str, str], path: str, machine: Machine
) -> None:
    machine.environ |= {name: text.replace("{root}", str(machine.root)) for name, text in environ.items()}
    assert machine.load().hf_cache == machine.root / path


# Faults


def test_all_faults_of_all_places_are_reported_at_once_with_their_origins(machine: Machine) -> None:
    machine.user_config.write_text('[network]\nfiles = "four"\nflies = 4\n[netwrk]\nfiles = 1\n')
    machine.project_file.write_text(
        'models = "whisper-base"\ncatalogue = []\nretry = 5\n[lan]\nattempts = 3\n'
    )
    machine.environ["MODELFETCH_RETRY_CAP"] = "long"
    lines = machine.fault({"network.files": 0}).splitlines()
    user, project = f"  user config {machine.user_config}: ", f"  project file {machine.project_file}: "
    assert lines == [
        "9 settings are wrong:",
        f"{user}network.files: expected a whole number from 1 to 64, not 'four'",
        f"{user}unknown key 'network.flies'. Did you mean 'files'?",
        f"{user}unknown key 'netwrk'. Did you mean 'network'?",
        f'{project}models: expected a list of strings, written as models = ["..."]',
        f"{project}unknown key 'catalogue'. Did you mean 'catalog'?",
        f"{project}retry: expected a table, written as [retry]",
        f"{project}unknown key 'lan.attempts'. It belongs under [retry].",
        "  environment MODELFETCH_RETRY_CAP: expected a number above 0, at most 86400, not 'long'",
        "  flag --files: expected a whole number from 1 to 64, not 0",
    ]


def test_a_key_without_its_table_is_sent_home(machine: Machine) -> None:
    machine.user_config.write_text("stall_timeout = 5\n")
    assert machine.fault().endswith("unknown key 'stall_timeout'. It belongs under [network].")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[network]\nfiles == 4\n", "is not valid TOML: Invalid value (at line 2, column 8)"),
        (b"[network]\nfiles = 4\nfiles = 5\n", "line 3"),
        (b"a = " + b"[" * 5000, "is not valid TOML: nested too deeply"),
        (b"a = " + b"9" * 5000, "is not valid TOML"),
        (b'a = "\x1b[2J"', "is not valid TOML"),
        (b"# \xe9\n", "is not UTF-8 (at line 1)"),
        (b"#" * (SIZE_CAP + 1), "too large"),
    ],
)
def test_a_broken_file_is_one_clear_line(content: bytes, reason: str, machine: Machine) -> None:
    machine.user_config.write_bytes(content)
    message = machine.fault()
    assert message.startswith(f"user config {machine.user_config}: ")
    assert reason in message
    assert message.isprintable()


def test_a_byte_order_mark_is_no_fault(machine: Machine) -> None:
    machine.user_config.write_bytes(b"\xef\xbb\xbf[network]\nfiles = 2\n")
    assert machine.load().settings.network.files == 2


def test_a_directory_in_place_of_the_file_is_an_error(machine: Machine) -> None:
    machine.user_config.unlink()
    machine.user_config.mkdir()
    assert "cannot be read" in machine.fault()


def test_keys_cannot_reach_the_terminal_raw(machine: Machine) -> None:
    machine.project_file.write_text('"\\u001b[2J\\u202e" = 1\n[network]\n"\\u0007" = 1\n')
    assert machine.fault().replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("MODELFETCH_NETWORK_FILE", "MODELFETCH_NETWORK_FILES"),
        ("MODELFETCH_NETWRK_FILES", "MODELFETCH_NETWORK_FILES"),
        ("MODELFETCH_CACHEDIR", "MODELFETCH_CACHE_DIR"),
        ("MODELFETCH_CATALOGUE", "MODELFETCH_CATALOG"),
        ("MODELFETCH_NETWORK_SOMETHING_ELSE", ""),
    ],
)
def test_a_misspelled_variable_is_an_error(name: str, guess: str, machine: Machine) -> None:
    machine.environ[name] = "1"
    message = machine.fault()
    assert message.startswith(f"environment {name}: no such setting.")
    assert message.endswith(f" Did you mean '{guess}'?" if guess else "setting.")


@pytest.mark.parametrize(
    "name",
    [
        "MODELFETCH_SERVE_TOKEN",
        "MODELFETCH_SERVER",
        "MODELFETCH_VERSION",
        "MODELFETCH_IMAGE",
        "MY_MODELFETCH_FILES",
    ],
)
def test_other_variables_are_left_alone(name: str, machine: Machine) -> None:
    machine.environ[name] = "1"
    assert set(machine.load().origins.values()) == {"default", "environment MODELFETCH_CACHE_DIR", "not set"}


@pytest.mark.parametrize(
    "service",
    ["modelfetch", "modelfetch-serve", "modelfetch-cache", "modelfetch-server", "modelfetch-sources"],
)
def test_variables_that_kubernetes_makes_for_a_service_are_no_settings(
    service: str, machine: Machine
) -> None:
    prefix = service.upper().replace("-", "_")
    for suffix, text in {
        "SERVICE_HOST": "10.96.7.9",
        "SERVICE_PORT": "8765",
        "SERVICE_PORT_HTTP_WEB": "8765",
        "PORT": "tcp://10.96.7.9:8765",
        "PORT_8765_TCP": "tcp://10.96.7.9:8765",
        "PORT_8765_TCP_PROTO": "tcp",
        "PORT_8765_TCP_PORT": "8765",
        "PORT_8765_UDP_ADDR": "10.96.7.9",
    }.items():
        machine.environ[f"{prefix}_{suffix}"] = text
    assert set(machine.load().origins.values()) == {"default", "environment MODELFETCH_CACHE_DIR", "not set"}


def test_no_setting_could_be_taken_for_a_variable_of_a_service() -> None:
    names = [setting.variable for setting in (*SETTINGS, *RUN_SETTINGS)]
    assert [name for name in (*names, *ENVIRONMENT) if is_of_a_service(name, "1")] == []
    assert not is_of_a_service("MODELFETCH_SERVE_PORT", "9000"), "somebody takes it for a setting"


def test_an_unknown_flag_is_an_error(machine: Machine) -> None:
    assert machine.fault({"network.file": 1}) == (
        "argument 'network.file': no such setting. Did you mean 'network.files'?"
    )


def test_secrets_in_a_refused_value_are_not_shown(machine: Machine) -> None:
    machine.environ["MODELFETCH_SOURCES_MIRRORS"] = "https://me:hunter2@a.example/x?key=hunter2"
    machine.environ["MODELFETCH_NETWORK_FILES"] = "https://me:hunter2@a.example/"
    message = machine.fault()
    assert "a.example" in message
    assert "hunter2" not in message


def test_samples_and_run_settings_cover_the_table() -> None:
    """The matrix above forgets no setting; the two that no file may set have tests of their own."""
    assert SAMPLES.keys() == {setting.name for setting in SETTINGS}
    assert [setting.name for setting in RUN_SETTINGS] == ["cache_dir", "offline"]
