"""Recipes for the machines of a cluster, as texts with fields: see :mod:`modelfetch.cli.recipes`.

Each of them makes the models present once on every machine, in a cache of that machine. Machines that start
at the same time wait for a random time before their first request (``--jitter``), and exchange what they have
where a model has a swarm (``--swarm``). Exit codes decide what is tried again: 6 (no source could deliver)
and 10 (time limit) may pass, 5 (wrong bytes) does not.
"""

from __future__ import annotations

from typing import Final

NODES: Final = """\
---
# For a whole cluster: each node fetches the models once, into a directory of its own, and shares them with
# the other nodes. Leave it out, and the job below, if each pod has a volume of its own, as above.
# The image needs the extras serve and swarm: modelfetch ci docker --package './tools/modelfetch[serve,swarm]'
# The namespace must allow hostPath and hostNetwork (Pod Security level "privileged").
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: modelfetch
spec:
  selector:
    matchLabels:
      app: modelfetch
  template:
    metadata:
      labels:
        app: modelfetch
    spec:
      automountServiceAccountToken: false
      hostNetwork: true # peers find each other by multicast in the network of the nodes
      dnsPolicy: ClusterFirstWithHostNet
      securityContext:
        seccompProfile:
          type: RuntimeDefault
      initContainers:
        - name: directory # kubelet makes it for root
          image: @IMAGE@
          command: ["install", "-d", "-o", "65534", "-g", "65534", "/cache"]
          securityContext:
            runAsUser: 0
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
              add: ["CHOWN", "FOWNER"]
          volumeMounts:
            - name: models
              mountPath: /cache
        - name: models # a failure is tried again by kubelet; what was fetched is kept
          image: @IMAGE@
          command: ["modelfetch", "ensure", "--swarm", "--jitter", "30", "--timeout", "3600", @LIST@]
          securityContext: &node
            runAsNonRoot: true
            runAsUser: 65534
            runAsGroup: 65534
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: models
              mountPath: /cache
            @MOUNT_CATALOG@
      containers:
        - name: share
          image: @IMAGE@
          # The line that it prints has the token; keep it out of the log.
          command:
            - sh
            - -c
            - exec modelfetch serve --host 0.0.0.0 --port 8765 --share --swarm > /dev/null
          readinessProbe:
            tcpSocket:
              port: 8765
          securityContext: *node
          volumeMounts:
            - name: models
              mountPath: /cache
            @MOUNT_CATALOG@
      volumes:
        - name: models
          hostPath:
            path: /var/lib/modelfetch
            type: DirectoryOrCreate
        @CATALOG_VOLUME@
---
# A job that uses the models of its node. It cannot change them.
apiVersion: batch/v1
kind: Job
metadata:
  name: modelfetch-example
spec:
  backoffLimit: 10 # exit code 4: the node does not have the models yet
  podFailurePolicy:
    rules:
      - action: FailJob # a wrong call, an unknown model, wrong bytes: another try does not help
        onExitCodes:
          containerName: app
          operator: In
          values: [2, 3, 5]
  template:
    spec:
      automountServiceAccountToken: false
      restartPolicy: Never
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: app
          image: @IMAGE@
          command: ["sh", "-c", "modelfetch ensure --quiet @WORDS@"] # put your program behind it
          env:
            - name: MODELFETCH_OFFLINE
              value: "1"
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          volumeMounts:
            - name: models
              mountPath: /cache
              readOnly: true
            @MOUNT_CATALOG@
      volumes:
        - name: models
          hostPath:
            path: /var/lib/modelfetch
            type: Directory # a pod waits until the node has it
        @CATALOG_VOLUME@
"""

SLURM: Final = """\
#!/bin/bash
# Save as models.sbatch. Models: @MODELS@
#
# Submit it in the root of the project: sbatch models.sbatch
# The project and the environment with modelfetch (pip install @PACKAGE@)
# are on a file system that all nodes see.
# Its exit code is the highest of the nodes, so 0 means that every node has the models.
#SBATCH --job-name=models
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
set -euo pipefail

# A disk of each node. For one cache on a shared file system, set it to that, and use --nodes=1.
export MODELFETCH_CACHE_DIR="${MODELFETCH_CACHE_DIR:-/var/tmp/$USER/modelfetch}"

# One run on each node. --swarm needs the extra swarm: leave it out to read the sources only.
fetch() {
    srun --ntasks-per-node=1 --kill-on-bad-exit=0 \\
        modelfetch ensure --quiet --swarm --jitter 30 --timeout 1200@NAMES@
}

# 6 (no source could deliver) and 10 (time limit) may pass: one more try, and what was fetched is kept.
code=0
fetch || code=$?
if [ "$code" -eq 6 ] || [ "$code" -eq 10 ]; then
    code=0
    fetch || code=$?
fi
if [ "$code" -ne 0 ]; then
    exit "$code"
fi

export MODELFETCH_OFFLINE=1
srun --ntasks-per-node=1 modelfetch ensure --quiet@NAMES@ # put your program here
"""

RAY: Final = '''\
# Save as ensure_models.py. Models: @MODELS@
"""Makes the models present on every node of a Ray cluster, before work is scheduled there.

Run it in the root of the project, with modelfetch (pip install @PACKAGE@) on every node:
  ray job submit --working-dir . -- python ensure_models.py
"""

import subprocess
import sys

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

# --swarm needs the extra swarm: leave it out to read the sources only.
COMMAND = "modelfetch ensure --quiet --swarm --jitter 30 --timeout 1200@NAMES@".split()
AGAIN = (6, 10)  # no source could deliver, time limit: these may pass, and what was fetched is kept


def ensure():
    """Run on one node; return the exit code, and what was written."""
    for _ in range(2):
        done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
        if done.returncode not in AGAIN:
            break
    return done.returncode, done.stderr


def main():
    """Run on all nodes; return the highest exit code."""
    ray.init(address="auto")
    task = ray.remote(num_cpus=0)(ensure)
    started = []
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            result = task.options(scheduling_strategy=there).remote()
            started.append((node["NodeManagerHostname"], result))
    highest = 0
    for host, result in started:
        code, text = ray.get(result)
        print(f"{host}: {'ready' if code == 0 else f'exit code {code}'}")
        if code:
            print(text, file=sys.stderr)
        highest = max(highest, code)
    return highest


if __name__ == "__main__":
    sys.exit(main())
'''

ANSIBLE: Final = """\
# Save as models-playbook.yml. Models: @MODELS@
# Run it in the root of the project: ansible-playbook --inventory HOSTS models-playbook.yml
- name: Models on every host
  hosts: all
  become: true
  vars:
    modelfetch: /opt/modelfetch/bin/modelfetch
    modelfetch_environment:
      MODELFETCH_CACHE_DIR: /var/lib/modelfetch
      MODELFETCH_CATALOG: /etc/modelfetch/catalog
  tasks:
    - name: Make a user
      ansible.builtin.user:
        name: modelfetch
        system: true
        home: /var/lib/modelfetch
        create_home: false # its mode would be that of home directories, which others often cannot read
        shell: /usr/sbin/nologin
    - name: Make the directory of the models
      ansible.builtin.file:
        path: /var/lib/modelfetch
        state: directory
        owner: modelfetch
        mode: "0755"
    - name: Make the directory of the catalog
      ansible.builtin.file:
        path: /etc/modelfetch/catalog
        state: directory
        mode: "0755"
    @COPY_TASKS@
    - name: Install modelfetch
      ansible.builtin.pip:
        name: "@PACKAGE_ON_HOST@"
        virtualenv: /opt/modelfetch
        virtualenv_command: python3 -m venv
      notify: Restart the service
    - name: Fetch what is missing
      ansible.builtin.command:
        argv: # as the user of the service
          - runuser
          - --user=modelfetch
          - --
          - "{{ modelfetch }}"
          - ensure
          - --json
          - --swarm
          - --jitter=30
          - --timeout=1200
          @ITEMS@
      environment: "{{ modelfetch_environment }}"
      register: models
      changed_when: "'file_committed' in models.stdout"
      # No source could deliver, or time limit: these may pass, and what was fetched is kept.
      until: models.rc not in [6, 10]
      retries: 2
      delay: 30
    - name: Install the service that shares them with the other hosts
      ansible.builtin.copy:
        dest: /etc/systemd/system/modelfetch.service
        mode: "0644"
        content: |
          [Unit]
          Description=modelfetch: shares models with other machines
          After=network-online.target
          Wants=network-online.target

          [Service]
          User=modelfetch
          Environment=MODELFETCH_CACHE_DIR=/var/lib/modelfetch
          Environment=MODELFETCH_CATALOG=/etc/modelfetch/catalog
          ExecStart=/opt/modelfetch/bin/modelfetch serve --host 0.0.0.0 --share --swarm
          # The line that it prints has the token; keep it out of the journal
          StandardOutput=null
          Restart=on-failure
          SuccessExitStatus=143
          ProtectSystem=strict
          ReadWritePaths=/var/lib/modelfetch
          PrivateTmp=true
          NoNewPrivileges=true

          [Install]
          WantedBy=multi-user.target
      notify: Restart the service
    - name: Start the service
      ansible.builtin.systemd_service:
        name: modelfetch
        enabled: true
        state: started
        daemon_reload: true
  handlers:
    - name: Restart the service
      ansible.builtin.systemd_service:
        name: modelfetch
        state: restarted
        daemon_reload: true
"""
