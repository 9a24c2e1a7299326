"""Cache keys and recipes: keys follow the pins and nothing else, and recipes work as printed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelfetch.cli.ci import Target, _compose, _kubernetes
from modelfetch.cli.recipes import RECIPES
from tests.e2e.command import Command, InProcess, assert_fails
from tests.origin import Origin, ServedModel, model
from tests.test_docs import COMMANDS as DOCUMENTED

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "modelfetch" / "action.yml"


class Project(InProcess):
    """A project whose ``modelfetch.toml`` lists one model of its own and one that is built-in."""

    def __init__(self, home: Path, models: str = '"m"') -> None:
        super().__init__(home)
        self.environment["MODELFETCH_CATALOG"] = ""
        self.models = self.work / "models"
        self.models.mkdir()
        (self.work / "modelfetch.toml").write_text(f'models = [{models}]\ncatalog = ["models"]\n')

    def recipe(self, target: str, *arguments: str) -> str:
        """Print a recipe."""
        result = self("ci", target, *arguments)
        assert result.code == 0, result.err
        return result.out


@pytest.fixture
def project(tmp_path: Path, origin: Origin) -> Project:
    project = Project(tmp_path, '"m", "silero-vad"')
    project.serve(pinned(project, origin))
    return project


def pinned(project: Project, origin: Origin, name: str = "m") -> ServedModel:
    return model(origin, {"config.json": 20, "weights.bin": 3000}, name=name, catalog=project.models)


# Keys


def edit(project: Project, change: Callable[[str], str]) -> None:
    path = project.models / "m.toml"
    path.write_text(change(path.read_text()))


def test_a_key_is_the_same_on_every_machine_and_in_every_order(tmp_path: Path, project: Project) -> None:
    key = project("cache-key").out
    assert key.startswith("modelfetch-1-")
    assert len(key.strip()) == 45
    assert project("cache-key", "silero-vad", "m", "m").out == key
    other = Project(tmp_path / "other", '"silero-vad", "m"')
    shutil.copy(project.models / "m.toml", other.models)
    assert other("cache-key").out == key


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('version = "1"', 'version = "2"'),
        lambda text: text.replace("= 3000", "= 3001"),
        lambda text: re.sub('(sha256 *= ").{4}', r"\1ffff", text, count=1),
        lambda text: text.replace("weights.bin", "weights2.bin"),
    ],
    ids=["version", "size", "digest", "path"],
)
def test_a_key_changes_with_any_pin(project: Project, change: Callable[[str], str]) -> None:
    before = project("cache-key").out
    edit(project, change)
    after = project("cache-key")
    assert after.code == 0, after.err
    assert after.out != before


def test_titles_and_sources_do_not_change_a_key(project: Project) -> None:
    before = project("cache-key").out
    edit(project, lambda text: 'title = "other"\nhomepage = "https://h.example"\n' + text)
    edit(project, lambda text: text + '\n[mirrors]\nurls = ["https://m.example/{path}"]\n')
    assert project("cache-key").out == before


@pytest.mark.slow
def test_a_key_as_json(project: Project) -> None:
    document = project("cache-key", "--json").document
    assert document["key"] == project("cache-key").out.strip()
    assert [each["name"] for each in document["models"]] == ["m", "silero-vad"]
    assert {*document["models"][0]} == {"name", "version", "identity", "size"}


# Recipes


@pytest.mark.quick(3)
@pytest.mark.parametrize("target", Target)
def test_a_recipe_is_complete_and_names_the_models(project: Project, target: str) -> None:
    text = project.recipe(target)
    assert "@" not in text.replace("actions/checkout@v4", "").replace("@v4", "").replace("@v5", "")
    first = text.splitlines()[target == "slurm"]  # its first line names the shell
    assert "# Save as " in first
    assert first.endswith("Models: m, silero-vad")
    document = project("ci", target, "--json").document
    assert document == {"target": target, "path": RECIPES[target].path, "recipe": text}


@pytest.mark.quick(2)
@pytest.mark.parametrize("target", ["github", "gitlab", "compose", "kubernetes", "ansible"])
def test_a_recipe_is_yaml(project: Project, target: str) -> None:
    for arguments in ([], ["m"], ["silero-vad"]):
        assert all(yaml.safe_load_all(project.recipe(target, *arguments)))


def test_recipes_in_a_checkout_follow_the_project_unless_models_are_named(project: Project) -> None:
    assert "modelfetch ensure --timeout 900\n" in project.recipe("github")
    assert "modelfetch ensure --timeout 900 m\n" in project.recipe("github", "m")
    key = project("cache-key", "m").out.strip()
    assert yaml.safe_load(project.recipe("gitlab", "m"))["tests"]["cache"]["key"] == key


def test_an_image_has_a_layer_for_each_model(project: Project) -> None:
    lines = project.recipe("docker").splitlines()
    start = lines.index("COPY models/m.toml /etc/modelfetch/catalog/")
    assert lines[start + 1 : start + 3] == ["RUN modelfetch ensure m", "RUN modelfetch ensure silero-vad"]
    assert "COPY ./tools/modelfetch /tmp/modelfetch" in lines
    text = project.recipe("docker", "--package", "modelfetch==0.1.0")
    assert "pip install --no-cache-dir modelfetch==0.1.0 " in text
    assert "COPY ./tools" not in text
    text = project.recipe("docker", "--package", "./tools/modelfetch[serve,swarm]")
    assert "COPY ./tools/modelfetch /tmp/modelfetch" in text.splitlines()
    assert "pip install --no-cache-dir '/tmp/modelfetch[serve,swarm]'" in text


def test_containers_get_the_manifests_of_the_project(project: Project) -> None:
    config, deployment, *_ = yaml.safe_load_all(project.recipe("kubernetes"))
    assert config["data"] == {"m.toml": (project.models / "m.toml").read_text()}
    spec = deployment["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["command"][-2:] == ["m", "silero-vad"]
    assert {volume["name"] for volume in spec["volumes"]} == {"models", "catalog"}
    compose = yaml.safe_load(project.recipe("compose"))
    assert compose["configs"] == {"m": {"file": "./models/m.toml"}}
    kinds = [each["kind"] for each in yaml.safe_load_all(project.recipe("kubernetes", "silero-vad"))]
    assert kinds == ["Deployment", "DaemonSet", "Job"]
    assert "configs" not in yaml.safe_load(project.recipe("compose", "silero-vad"))


def test_the_nodes_get_the_torrents_of_the_project(project: Project) -> None:
    """Of machines that start together and have none, each would read the hub."""
    (project.models / "m.torrent").write_bytes(b"d1:\xffe")
    config, *_ = yaml.safe_load_all(project.recipe("kubernetes"))
    assert config["binaryData"] == {"m.torrent": base64.b64encode(b"d1:\xffe").decode()}
    assert [*config["data"]] == ["m.toml"]
    [play] = yaml.safe_load(project.recipe("ansible"))
    copied = [each["ansible.builtin.copy"] for each in play["tasks"] if "ansible.builtin.copy" in each]
    assert copied[1]["src"] == "models/m.torrent"
    assert copied[1]["dest"] == "/etc/modelfetch/catalog/m.torrent"


def test_a_torrent_that_fits_into_no_config_map_is_left_out(project: Project) -> None:
    (project.models / "m.torrent").write_bytes(bytes(1 << 20))
    result = project("ci", "kubernetes")
    assert "m.torrent does not fit into a ConfigMap" in result.err
    config, *_ = yaml.safe_load_all(result.out)
    assert "binaryData" not in config


def test_a_name_is_a_text_in_a_compose_file() -> None:
    """Also one that YAML takes for nothing, a number or a truth value."""
    own = {name: Path(f"models/{name}.toml") for name in ("m", "null", "on", "1.0", "0x1f", "1_000")}
    values = _compose(own)
    assert [*yaml.safe_load(values["CONFIGS"])["configs"]] == [*own]
    assert [used["source"] for used in yaml.safe_load(values["USED_CONFIGS"])["configs"]] == [*own]


@pytest.mark.parametrize(
    "text",
    ["a\n", "  a\n b\n\n\n", "a", "# é\u2028\U0001f600\n", "a\r\nb\r\n", "---\n...\n@IMAGE@\n", "\ta\n"],
)
def test_a_manifest_survives_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.toml").write_bytes(text.encode())
    values = _kubernetes({"m": Path("m.toml")}, tmp_path)
    read = yaml.safe_load(values["CONFIG_MAP"].removesuffix("---"))["data"]["m.toml"]
    assert read.replace("\r\n", "\n").rstrip("\n") == text.replace("\r\n", "\n").rstrip("\n")


def test_what_cannot_be_in_a_recipe_is_refused(project: Project, origin: Origin) -> None:
    for value in ("a; b", "$(x)", "../x", "-r x", "a\nb", ""):
        assert_fails(project("ci", "github", f"--package={value}"), 2, "--package")
    for value in ("A:1", "image", "i:1 x", "i:$x", ""):
        assert_fails(project("ci", "kubernetes", f"--image={value}"), 2, "--image")
    assert project("ci", "nonsense").code == 2
    strange = project.work / "mo dels"
    strange.mkdir()
    model(origin, {"a": 1}, name="s", catalog=strange)
    (project.work / "modelfetch.toml").write_text('models = ["s"]\ncatalog = ["mo dels"]\n')
    assert_fails(project("ci", "docker"), 2, "cannot be used in a recipe")


def test_a_model_that_the_job_would_not_know_is_refused(project: Project, origin: Origin) -> None:
    elsewhere = project.home / "elsewhere"
    elsewhere.mkdir()
    model(origin, {"a": 1}, name="mine", catalog=elsewhere)
    project.environment["MODELFETCH_CATALOG"] = str(elsewhere)
    for target in Target:
        assert_fails(project("ci", target, "mine"), 2, "outside of the project", "--to-catalog project")


# Clusters


def objects(project: Project, *names: str) -> dict[str, dict[str, Any]]:
    """The objects of the recipe for Kubernetes, by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(project.recipe("kubernetes", *names))}


def pod_specs(project: Project) -> list[dict[str, Any]]:
    found = objects(project)
    return [found[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "DaemonSet", "Job")]


def test_a_node_has_one_cache_which_jobs_cannot_change(project: Project) -> None:
    _, node, job = pod_specs(project)
    paths = [next(each for each in spec["volumes"] if each["name"] == "models") for spec in (node, job)]
    assert {each["hostPath"]["path"] for each in paths} == {"/var/lib/modelfetch"}
    [mount] = [each for each in job["containers"][0]["volumeMounts"] if each["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/cache", "readOnly": True}
    assert {"name": "MODELFETCH_OFFLINE", "value": "1"} in job["containers"][0]["env"]
    assert "--share" in node["containers"][0]["command"][-1]


def test_pods_have_no_more_rights_than_they_need(project: Project) -> None:
    for spec in pod_specs(project):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            security = spec["securityContext"] | container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
            is_root = container["name"] == "directory"
            assert security["runAsUser"] == (0 if is_root else 65534)
            assert is_root or security["runAsNonRoot"] is True


def test_labels_and_volumes_of_a_recipe_fit_together(project: Project) -> None:
    found = objects(project)
    for kind in ("Deployment", "DaemonSet"):
        spec = found[kind]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    for spec in pod_specs(project):
        volumes = {each["name"] for each in spec["volumes"]}
        used = {
            mount["name"]
            for container in [*spec.get("initContainers", ()), *spec["containers"]]
            for mount in container["volumeMounts"]
        }
        assert used == volumes == {"models", "catalog"}
    names = [(each["kind"], each["metadata"]["name"]) for each in found.values()]
    assert len({*names}) == len(names)


def test_a_job_is_not_tried_again_where_that_cannot_help(project: Project) -> None:
    job = objects(project)["Job"]["spec"]
    [rule] = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [2, 3, 5]  # not 4: the node may not have the models yet
    assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_hosts_get_the_manifests_of_the_project(project: Project) -> None:
    [play] = yaml.safe_load(project.recipe("ansible"))
    copied = [each["ansible.builtin.copy"] for each in play["tasks"] if "ansible.builtin.copy" in each]
    assert [each["src"] for each in copied if "src" in each] == ["models/m.toml", "./tools/modelfetch/"]
    [argv] = [
        each["ansible.builtin.command"]["argv"] for each in play["tasks"] if "ansible.builtin.command" in each
    ]
    assert argv[-2:] == ["m", "silero-vad"]
    [play] = yaml.safe_load(project.recipe("ansible", "--package", "modelfetch[serve,swarm]==0.1.0"))
    [pip] = [each["ansible.builtin.pip"] for each in play["tasks"] if "ansible.builtin.pip" in each]
    assert pip["name"] == "modelfetch[serve,swarm]==0.1.0"
    handlers = {each["name"] for each in play["handlers"]}
    assert {each["notify"] for each in play["tasks"] if "notify" in each} == handlers


CALLS = re.compile(r"modelfetch (ensure|verify|serve|cache-key)\b([^\n#&]*)")


@pytest.mark.quick(3)
@pytest.mark.parametrize("target", Target)
def test_options_in_a_recipe_exist(project: Project, target: str) -> None:
    """Options of commands, in the form of a shell and in that of a list."""
    text = re.sub(r'", "|"|, ', " ", project.recipe(target))
    text = re.sub(r"\n +- (?=--|\S+\n)", " ", text)  # a list of one item a line
    for command, rest in CALLS.findall(text):
        known = {name for parameter in DOCUMENTED[f"modelfetch {command}"].params for name in parameter.opts}
        assert {word.partition("=")[0] for word in re.findall(r"(?<!\S)--[a-z][^\s\]]*", rest)} <= known


def test_the_script_for_slurm_is_a_script(project: Project) -> None:
    text = project.recipe("slurm")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(index < first for index, line in enumerate(lines) if line.startswith("#SBATCH"))


@pytest.fixture
def nodes(project: Project, programs: Mapping[str, str]) -> Path:
    """A Slurm and a Ray of one node, as far as the recipes use them, with the command without ``--swarm``."""
    directory = project.home / "bin"
    (directory / "srun").write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
    (directory / "srun").chmod(0o755)
    (directory / "modelfetch").write_text(
        "#!/bin/bash\n"
        'words=(); for word; do [ "$word" = --swarm ] || words+=("$word"); done\n'
        'echo "$1" >> "$RUNS"; [ -e "$BROKEN" ] && { rm "$BROKEN"; exit 6; }\n'
        f'exec {sys.executable} -m modelfetch "${{words[@]/#30/0}}"\n'
    )
    package = project.home / "packages" / "ray" / "util"
    package.mkdir(parents=True)
    (package / "scheduling_strategies.py").write_text(
        "class NodeAffinitySchedulingStrategy:\n    def __init__(self, node_id, soft): assert not soft\n"
    )
    (package / "__init__.py").write_text("")
    (package.parent / "__init__.py").write_text(
        "def init(address): assert address == 'auto'\n"
        "def nodes(): return [dict(Alive=True, NodeID='1', NodeManagerHostname='a'), dict(Alive=False)]\n"
        "class Task:\n"
        "    def __init__(self, work): self.work = work\n"
        "    def options(self, scheduling_strategy): return self\n"
        "    def remote(self): return self.work()\n"
        "def remote(num_cpus): return Task\n"
        "def get(result): return result\n"
    )
    return project.home


def on_nodes(nodes: Path, programs: Mapping[str, str], *line: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **programs,
        "USER": "me",
        "RUNS": str(nodes / "runs"),
        "BROKEN": str(nodes / "broken"),
        "PYTHONPATH": f"{programs['PYTHONPATH']}{os.pathsep}{nodes / 'packages'}",
    }
    return subprocess.run(
        line, cwd=nodes / "work", env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", ["slurm", "ray"])
def test_the_scripts_for_nodes_run(
    project: Project, nodes: Path, programs: Mapping[str, str], target: str
) -> None:
    only_own(project)
    path = project.work / RECIPES[target].path
    path.write_text(project.recipe(target))
    line = [sys.executable if target == "ray" else "bash", str(path)]
    (nodes / "broken").touch()  # the first try fails with 6
    done = on_nodes(nodes, programs, *line)
    assert done.returncode == 0, done.stderr
    assert (nodes / "runs").read_text().split() == ["ensure"] * (2 + (target == "slurm"))
    assert project("path", "m").code == 0
    (project.work / "modelfetch.toml").write_text('models = ["nothing"]\n')
    (nodes / "runs").unlink()
    assert on_nodes(nodes, programs, *line).returncode == 3
    assert (nodes / "runs").read_text().split() == ["ensure"]  # not tried again


# What the recipes run


@pytest.fixture
def programs(project: Project) -> Mapping[str, str]:
    """An environment with the command on PATH. ``pip`` does nothing: what it installs is there already."""
    programs = project.home / "bin"
    programs.mkdir()
    for name, text in {
        "modelfetch": f'exec {sys.executable} -m modelfetch "$@"',
        "pip": "exit 0",
        "python": f'[ "$2" = pip ] && exit 0; exec {sys.executable} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return project.environment | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def bash(script: str, cwd: Path, environment: Mapping[str, str], **more: str) -> str:
    """Run a script as GitHub does, and return what it wrote."""
    line = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(
        line, cwd=cwd, env={**environment, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def only_own(project: Project) -> None:
    """Let the project list its own model only, which an origin of the test serves."""
    (project.work / "modelfetch.toml").write_text('models = ["m"]\ncatalog = ["models"]\n')


@pytest.mark.slow
def test_the_steps_for_github_run(project: Project, programs: Mapping[str, str]) -> None:
    only_own(project)
    job = yaml.safe_load(project.recipe("github"))["jobs"]["tests"]
    output = project.home / "output"
    for step in job["steps"]:
        if "run" in step:
            bash(step["run"], project.work, programs, GITHUB_OUTPUT=str(output), **step.get("env", {}))
    assert output.read_text() == f"key={project('cache-key').out}"
    assert project("path", "m").code == 0


@pytest.mark.slow
def test_the_script_for_gitlab_runs(project: Project, programs: Mapping[str, str]) -> None:
    only_own(project)
    job = yaml.safe_load(project.recipe("gitlab"))["tests"]
    cache = {"MODELFETCH_CACHE_DIR": str(project.work / ".modelfetch"), "CI": "true"}
    bash("\n".join(job["before_script"] + job["script"]), project.work, {**programs, **cache})
    assert [f"{path}/" for path in (".modelfetch",)] == job["cache"]["paths"]
    assert (project.work / ".modelfetch" / "models" / "m").is_dir()


@pytest.mark.slow
def test_the_layers_of_an_image_can_be_made_and_read_without_the_project(
    project: Project, programs: Mapping[str, str]
) -> None:
    """COPY, RUN, ENV and CMD in order, with the directories of the image below one of the test."""
    only_own(project)
    image = project.home / "image"
    environment = dict(programs)
    elsewhere = project.home / "elsewhere"
    elsewhere.mkdir()
    text = project.recipe("docker").replace("\\\n", " ")
    for name in ("/cache", "/models ", "/models\n", "/etc/modelfetch"):
        text = text.replace(f" {name}", f" {image}{name}").replace(f"={name}", f"={image}{name}")
    if os.geteuid() != 0:
        text = text.replace("-o 65534 -g 65534", "")
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "RUN":
            bash(rest, elsewhere, environment)
        elif word == "ENV":
            environment |= dict(part.split("=", 1) for part in rest.split())
        elif word == "COPY" and "toml" in rest:
            source, target = rest.split()
            shutil.copy(project.work / source, target)
        elif word == "CMD":
            bash(" ".join(json.loads(rest)), elsewhere, environment)
    assert sorted(path.name for path in (image / "models" / "models").iterdir()) == ["m"]


@pytest.mark.slow
def test_a_pod_finds_its_manifests_and_models(project: Project, programs: Mapping[str, str]) -> None:
    """The files of a ConfigMap are links into a directory with the time, as kubelet makes them."""
    only_own(project)
    config, deployment, *_ = yaml.safe_load_all(project.recipe("kubernetes"))
    catalog = project.home / "mounted"
    (catalog / "..2026_11_28").mkdir(parents=True)
    (catalog / "..data").symlink_to("..2026_11_28")
    for name, text in config["data"].items():
        (catalog / "..2026_11_28" / name).write_text(text)
        (catalog / name).symlink_to(f"..data/{name}")
    environment = {**programs, "MODELFETCH_CATALOG": str(catalog)}
    spec = deployment["spec"]["template"]["spec"]
    subprocess.run(spec["initContainers"][0]["command"], env=environment, cwd="/", check=True)
    script = spec["containers"][0]["command"][2].partition(" && ")[0]
    bash(script, Path("/"), {**environment, "MODELFETCH_OFFLINE": "1"})


@pytest.mark.slow
def test_a_job_waits_for_the_models_of_its_node(project: Project, programs: Mapping[str, str]) -> None:
    only_own(project)
    [container] = objects(project)["Job"]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    environment = {**programs, **variables, "MODELFETCH_CATALOG": str(project.models)}

    def run() -> int:
        done = subprocess.run(
            container["command"], env=environment, cwd="/", capture_output=True, check=False
        )
        return done.returncode

    assert run() == 4  # tried again by Kubernetes
    assert project("ensure", "m").code == 0
    assert run() == 0


@pytest.mark.slow
def test_the_services_of_a_compose_file_run(project: Project, programs: Mapping[str, str]) -> None:
    only_own(project)
    services = yaml.safe_load(project.recipe("compose"))["services"]
    environment = {**programs, "MODELFETCH_CATALOG": str(project.models)}
    subprocess.run(services["models"]["command"], env=environment, cwd="/", check=True)
    offline = services["app"]["environment"]
    subprocess.run(services["app"]["command"], env={**environment, **offline}, cwd="/", check=True)


# The action


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(ACTION.read_text("utf-8"))
    return document


def test_the_action_passes_inputs_by_the_environment_only() -> None:
    """In a script they would be run as commands."""
    document = action()
    steps = document["runs"]["steps"]
    assert all("${{" not in step["run"] and step["shell"] == "bash" for step in steps if "run" in step)
    assert [step.get("uses", "").partition("@")[0] for step in steps if "uses" in step] == [
        "actions/cache/restore",
        "actions/cache/save",
    ]
    used = ACTION.read_text("utf-8")
    assert all(f"inputs.{name}" in used for name in document["inputs"])


@pytest.mark.slow
@pytest.mark.parametrize(("shard", "jitter"), [("", ""), ("1/1", "0.1")])
def test_the_steps_of_the_action_run(
    project: Project, programs: Mapping[str, str], shard: str, jitter: str
) -> None:
    only_own(project)
    files = {
        name: str(project.home / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")
    }
    inputs = {name: facts["default"] for name, facts in action()["inputs"].items()}
    inputs |= {"shard": shard, "jitter": jitter}
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project.work),
        "GITHUB_ACTION_PATH": "/x",
        "CI": "1",
    }
    environment = {name: value for name, value in programs.items() if name != "MODELFETCH_CACHE_DIR"} | github
    environment |= files
    for step in action()["runs"]["steps"]:
        given = {
            name: inputs[value.removeprefix("${{ inputs.").removesuffix(" }}")]
            if "inputs." in value
            else value
            for name, value in step.get("env", {}).items()
        }
        if "run" in step:
            bash(step["run"], project.work, environment, **given)
        if Path(files["GITHUB_ENV"]).exists():
            lines = Path(files["GITHUB_ENV"]).read_text().splitlines()
            environment |= dict(line.split("=", 1) for line in lines)
    output = Path(files["GITHUB_OUTPUT"]).read_text().splitlines()
    assert output[0] == f"key={project('cache-key').out.strip()}{'-1-of-1' if shard else ''}"
    assert str(project.work / ".modelfetch" / "models" / "m" / "1") in output
    summary = Path(files["GITHUB_STEP_SUMMARY"]).read_text()
    assert "### Models: completed in " in summary
    assert "### Verified models: completed in " in summary


def action_step(name: str) -> str:
    """Return the script of one step of the action."""
    return next(str(step["run"]) for step in action()["runs"]["steps"] if step["name"] == name)


@pytest.mark.parametrize("name", ["SHARD", "CACHE_DIR"])
def test_an_input_cannot_set_variables_of_later_steps(tmp_path: Path, name: str) -> None:
    written = {each: str(tmp_path / each) for each in ("GITHUB_OUTPUT", "GITHUB_ENV")}
    environment = {**written, "MODELS": "", "SHARD": "", "CACHE_DIR": "", name: "x\nBASH_ENV=/evil"}
    line = [
        "bash",
        "-eo",
        "pipefail",
        "-c",
        "modelfetch() { echo k; }\n" + action_step("Compute the cache key"),
    ]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "single lines" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_summary_of_a_shard_without_a_model_is_a_success(
    project: Project, programs: Mapping[str, str]
) -> None:
    environment = {**programs, "GITHUB_STEP_SUMMARY": str(project.home / "summary")}
    bash(
        action_step("Write the job summary"), project.work, environment, KEY="k", HIT="false", DIRECTORIES=""
    )
    assert "saved under a new key" in (project.home / "summary").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "used"), [("", "/ws/.modelfetch"), ("my cache", "/ws/my cache"), ("/c", "/c"), ("~/c", "~/c")]
)
def test_all_steps_of_the_action_mean_the_same_cache(
    project: Project, programs: Mapping[str, str], given: str, used: str
) -> None:
    """Also if the project lies in a directory of its own in the workspace."""
    files = {name: str(project.home / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV")}
    environment = {**programs, **files, "GITHUB_WORKSPACE": "/ws"}
    bash(
        action_step("Compute the cache key"), project.work, environment, MODELS="m", SHARD="", CACHE_DIR=given
    )
    assert Path(files["GITHUB_ENV"]).read_text() == f"MODELFETCH_CACHE_DIR={used}\n"


# Linters of others, where they are installed


def run(*line: str | Path) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "schema"),
    [("github", "github-workflows"), ("gitlab", "gitlab-ci"), ("compose", "compose-spec")],
)
def test_a_recipe_fits_the_schema_of_its_service(
    project: Project, tmp_path: Path, target: str, schema: str
) -> None:
    if shutil.which("check-jsonschema") is None:
        pytest.skip("check-jsonschema is not installed")
    path = tmp_path / "recipe.yml"
    for arguments in ([], ["silero-vad"]):
        path.write_text(project.recipe(target, *arguments))
        run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", path)
    run("check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)


@pytest.mark.slow
def test_kubernetes_knows_every_field(project: Project, tmp_path: Path) -> None:
    if shutil.which("kubernetes-validate") is None:
        pytest.skip("kubernetes-validate is not installed")
    path = tmp_path / "models.yaml"
    for arguments in ([], ["silero-vad"]):
        path.write_text(project.recipe("kubernetes", *arguments))
        run("kubernetes-validate", "--strict", path)


@pytest.mark.slow
def test_shellcheck_has_no_finding(project: Project, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    job = yaml.safe_load(project.recipe("gitlab"))["tests"]
    steps = yaml.safe_load(project.recipe("github"))["jobs"]["tests"]["steps"] + action()["runs"]["steps"]
    scripts = ["\n".join(job["before_script"] + job["script"])] + [step.get("run", "") for step in steps]
    path = tmp_path / "script"
    for script in scripts:
        path.write_text(script)
        run("shellcheck", "--shell=bash", path)


@pytest.mark.slow
def test_hadolint_has_no_warning(project: Project, tmp_path: Path) -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    path = tmp_path / "Containerfile"
    path.write_text(project.recipe("docker"))
    run("hadolint", "--failure-threshold", "warning", path)


@pytest.mark.slow
def test_actionlint_has_no_finding(project: Project, tmp_path: Path) -> None:
    module = os.environ.get("MODELFETCH_ACTIONLINT")
    if not module:
        pytest.skip("MODELFETCH_ACTIONLINT does not name actionlint's node.mjs")
    workflow = tmp_path / "models.yml"
    workflow.write_text(project.recipe("github"))
    script = tmp_path / "lint.mjs"
    script.write_text(
        f"""
        import {{ createLinter }} from {json.dumps(module)};
        import {{ readFileSync }} from "node:fs";
        const lint = await createLinter();
        const found = lint(readFileSync({json.dumps(str(workflow))}, "utf8"), "models.yml");
        for (const each of found) console.log(JSON.stringify(each));
        process.exit(found.length);
        """
    )
    run("node", script)


# Shards


def test_shards_fetch_each_model_once(tmp_path: Path, origin: Origin) -> None:
    names = ["m1", "m2", "m3"]
    fetched: list[str] = []
    for number in ("1/2", "2/2"):
        machine = Project(tmp_path / number[0], ", ".join(f'"{name}"' for name in names))
        for name in names:
            machine.serve(pinned(machine, origin, name))
        result = machine("ensure", "--shard", number)
        assert result.code == 0, result.err
        fetched += [Path(line).parent.name for line in result.lines]
        assert sorted(Path(line).parent.name for line in result.lines) == sorted(
            path.name for path in (machine.cache / "models").iterdir()
        )
    assert sorted(fetched) == names


def test_a_shard_without_a_model_is_a_success(project: Project) -> None:
    result = project("ensure", "m", "--shard", "2/2")
    assert (result.code, result.out) == (0, "")
    assert "shard 2/2 has no model" in result.err
    records = project("ensure", "m", "--shard", "2/2", "--json").records
    assert records[-1]["event"] == "run_finished"
    assert records[-1]["outcome"] == "completed"


@pytest.mark.slow
def test_a_wrong_shard_is_refused(cli: Command) -> None:
    assert_fails(cli("ensure", "m", "--shard", "3/2"), 2, "--shard", "1/4")


@pytest.mark.parametrize("target", [Target.ANSIBLE, Target.SLURM])
def test_settings_of_the_project_that_a_recipe_lacks_are_named(project: Project, target: Target) -> None:
    with (project.work / "modelfetch.toml").open("a") as file:
        file.write('[sources]\nmirrors = ["https://me:secret@a.example/{path}"]\n')
    result = project("ci", target)
    assert result.code == 0
    assert ("MODELFETCH_SOURCES_MIRRORS" in result.err) == (target is Target.ANSIBLE)
    assert "secret" not in result.err + result.out


def test_other_users_of_a_host_can_read_the_models(project: Project) -> None:
    [play] = yaml.safe_load(project.recipe("ansible"))
    directories = {
        each["ansible.builtin.file"]["path"]: each["ansible.builtin.file"]["mode"]
        for each in play["tasks"]
        if "ansible.builtin.file" in each
    }
    assert directories[play["vars"]["modelfetch_environment"]["MODELFETCH_CACHE_DIR"]] == "0755"
    [user] = [each["ansible.builtin.user"] for each in play["tasks"] if "ansible.builtin.user" in each]
    assert user["create_home"] is False  # else its mode depends on the system


def test_the_token_of_a_server_is_in_no_log(project: Project) -> None:
    [container] = objects(project)["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    shell, option, command = container["command"]
    assert (shell, option) == ("sh", "-c")
    assert re.fullmatch(r"exec modelfetch serve .* > /dev/null", command)
    assert "StandardOutput=null" in project.recipe("ansible")
