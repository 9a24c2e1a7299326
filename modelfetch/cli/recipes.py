"""Recipes for CI services, containers and clusters, as texts with fields.

Each recipe is complete: it works as printed, in the root of a repository that has the project's
``modelfetch.toml``. A field is written ``@NAME@``, because the files use ``$`` and braces themselves. The
values are made in :mod:`modelfetch.cli.ci` and contain no characters that mean something to a shell or YAML.
A field alone on its line is indented like its line, and the line is left out if the value is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from textwrap import indent
from typing import Final

from modelfetch.cli.cluster_recipes import ANSIBLE, NODES, RAY, SLURM
from modelfetch.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe, and where it is saved."""

    path: str
    """Path of its file in a repository."""
    text: str


GITHUB: Final = """\
# Save as .github/workflows/models.yml. Models: @MODELS@
name: models
on:
  push:
  pull_request:
permissions:
  contents: read
jobs:
  tests:
    runs-on: ubuntu-latest
    env:
      MODELFETCH_CACHE_DIR: ${{ github.workspace }}/.modelfetch
      MODELFETCH_CACHE_FSYNC: "false" # the runner is thrown away after the job
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install modelfetch
        run: pip install @PACKAGE@
      - name: Compute the cache key
        id: key
        run: |
          key=$(modelfetch cache-key@NAMES@)
          echo "key=$key" >> "$GITHUB_OUTPUT"
      - name: Restore the models
        id: cache
        uses: actions/cache/restore@v4
        with:
          path: ${{ env.MODELFETCH_CACHE_DIR }}
          key: ${{ steps.key.outputs.key }}
          restore-keys: modelfetch- # an older cache, of which unchanged files are used
      - name: Fetch what is missing
        run: modelfetch ensure --timeout 900@NAMES@
      - name: Verify the models
        run: modelfetch verify@NAMES@
      - name: Save the models
        if: steps.cache.outputs.cache-hit != 'true'
        uses: actions/cache/save@v4
        with:
          path: ${{ env.MODELFETCH_CACHE_DIR }}
          key: ${{ steps.key.outputs.key }}
      - name: Run the tests
        run: modelfetch ensure --quiet@NAMES@ # put your tests here
        env:
          MODELFETCH_OFFLINE: "1"
"""

GITLAB: Final = """\
# Save as .gitlab-ci.yml. Models: @MODELS@
tests:
  image: docker.io/library/python:3.12-slim
  variables:
    MODELFETCH_CACHE_DIR: "$CI_PROJECT_DIR/.modelfetch"
    MODELFETCH_CACHE_FSYNC: "false" # the container is thrown away after the job
  cache:
    # The output of `modelfetch cache-key`. With an older key the job fetches what changed.
    key: @KEY@
    paths:
      - .modelfetch/
  before_script:
    - pip install @PACKAGE@
  script:
    - modelfetch ensure --timeout 900@NAMES@
    - modelfetch verify@NAMES@
    - export MODELFETCH_OFFLINE=1
    - modelfetch ensure --quiet@NAMES@ # put your tests here
"""

CONTAINERFILE: Final = """\
# Save as Containerfile. Models: @MODELS@
#
# The models in an image, each in a layer of its own; podman and buildah take the same arguments:
#   docker build --file Containerfile --tag @IMAGE@-models .
#   docker run --rm --read-only --user 12345 @IMAGE@-models
# Without models, for the recipes of `modelfetch ci compose` and `modelfetch ci kubernetes`:
#   docker build --file Containerfile --target modelfetch --tag @IMAGE@ .
ARG PYTHON=docker.io/library/python:3.12-slim

FROM ${PYTHON} AS modelfetch
@COPY_PACKAGE@
RUN pip install --no-cache-dir @PACKAGE_IN_IMAGE@ \\
    && install -d /etc/modelfetch/catalog \\
    && install -d -o 65534 -g 65534 /cache
ENV MODELFETCH_CACHE_DIR=/cache \\
    MODELFETCH_CATALOG=/etc/modelfetch/catalog \\
    MODELFETCH_HISTORY_DAYS=0

FROM modelfetch AS models
# Not /cache, which another user than root may write to.
ENV MODELFETCH_CACHE_DIR=/models
@LAYERS@
ENV MODELFETCH_OFFLINE=1
USER 65534:65534
# Reads every file and compares it with its pin. Put your program here.
CMD ["modelfetch", "verify"]
"""

COMPOSE: Final = """\
# Save as compose.yaml, beside the Containerfile of `modelfetch ci docker`. Models: @MODELS@
services:
  models: # fetches what is missing into the volume, and ends
    image: @IMAGE@
    build:
      context: .
      dockerfile: Containerfile
      target: modelfetch
    user: "65534:65534"
    read_only: true
    command: ["modelfetch", "ensure", "--timeout", "900", @LIST@]
    volumes:
      - models:/cache
    @USED_CONFIGS@
  app:
    image: @IMAGE@
    depends_on:
      models:
        condition: service_completed_successfully
    user: "65534:65534"
    read_only: true
    command: ["modelfetch", "verify", @LIST@] # put your program here
    environment:
      MODELFETCH_OFFLINE: "1"
    volumes:
      - models:/cache:ro
    @USED_CONFIGS@
@CONFIGS@
volumes:
  models:
"""

KUBERNETES: Final = """\
# Save as models.yaml. Models: @MODELS@
# The image is the one without models of `modelfetch ci docker`; push it where the cluster can pull it.
@CONFIG_MAP@
apiVersion: apps/v1
kind: Deployment
metadata:
  name: modelfetch-example
spec:
  replicas: 1
  selector:
    matchLabels:
      app: modelfetch-example
  template:
    metadata:
      labels:
        app: modelfetch-example
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        fsGroup: 65534
        seccompProfile:
          type: RuntimeDefault
      initContainers:
        - name: models
          image: @IMAGE@
          command: ["modelfetch", "ensure", "--timeout", "900", @LIST@]
          securityContext: &restricted
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: models
              mountPath: /cache
            @MOUNT_CATALOG@
      containers:
        - name: app
          image: @IMAGE@
          command: ["sh", "-c", "modelfetch verify @WORDS@ && exec sleep infinity"] # put your program here
          env:
            - name: MODELFETCH_OFFLINE
              value: "1"
          securityContext: *restricted
          volumeMounts:
            - name: models
              mountPath: /cache
              readOnly: true
            @MOUNT_CATALOG@
      volumes:
        - name: models
          emptyDir: {} # or a persistentVolumeClaim, to fetch the models once
        @CATALOG_VOLUME@
"""

RECIPES: Final[Mapping[str, Recipe]] = {
    "github": Recipe(".github/workflows/models.yml", GITHUB),
    "gitlab": Recipe(".gitlab-ci.yml", GITLAB),
    "docker": Recipe("Containerfile", CONTAINERFILE),
    "compose": Recipe("compose.yaml", COMPOSE),
    "kubernetes": Recipe("models.yaml", KUBERNETES + NODES),
    "slurm": Recipe("models.sbatch", SLURM),
    "ray": Recipe("ensure_models.py", RAY),
    "ansible": Recipe("models-playbook.yml", ANSIBLE),
}
"""The recipes by their name in ``modelfetch ci``."""

_ALONE: Final = re.compile(r"^( *)@([A-Z_]+)@\n", re.MULTILINE)
_FIELD: Final = re.compile(r"@([A-Z_]+)@")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values into the fields of a recipe."""

    def block(found: re.Match[str]) -> str:
        value = values[found[2]]
        return indent(value, found[1]) + "\n" if value else ""

    # In two passes over the recipe only: a manifest that a block quotes may contain the form of a field.
    parts = _ALONE.split(text)
    filled = [_FIELD.sub(lambda found: values[found[1]], part) for part in parts[::3]]
    blocks = [block(found) for found in _ALONE.finditer(text)]
    return "".join(a + b for a, b in zip(filled, [*blocks, ""], strict=True))
