"""Makes sure that Postgres and RabbitMQ can be had, and says from where; `make test` and `make demo` run it first.

Installs the Debian packages where there is neither a Docker engine nor a binary, and keeps them from starting on the
usual ports: what runs there, if anything, is none of our business.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services import pgbouncer, postgres, rabbitmq_binaries
from services.find import AMQP_VARIABLE, DATABASE_VARIABLE, engine, has_binaries, plan
from services.rabbitmq_binaries import WrongTree

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this script before a package starts a service; 101 means: not allowed."""
CLUSTER_SETTING = Path("/etc/postgresql-common/createcluster.d/relay-no-cluster.conf")
"""Without it Debian's package makes a cluster named main on port 5432."""
EXTRAS = {"pgbouncer": pgbouncer.binary}
"""Servers that only some tests stand on."""
TOOLS = {
    "prometheus": "promtool",
    "chromium": "chromium",
    "npm": "npm",
    "postgresql": "pg_restore",
    "rabbitmq-server": "rabbitmqctl",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "podman": "podman",
    "conmon": "conmon",
    "runc": "runc",
    "netavark": "/usr/lib/podman/netavark",
    "uidmap": "newuidmap",
}
"""Debian packages that only some tests use, and a command of each; no container stands in for them."""
EXTRA_PATH = "/usr/sbin:/sbin"


def missing(extras: Sequence[str] = ()) -> list[str]:
    """The Debian packages to install; `extras` are of EXTRAS and TOOLS.

    No server where a URL names one or a Docker engine answers.
    """
    tools = [name for name in extras if name in TOOLS and shutil.which(TOOLS[name]) is None]
    if engine():
        return tools
    wanted = (
        ("postgresql", DATABASE_VARIABLE, postgres.binaries),
        ("rabbitmq-server", AMQP_VARIABLE, rabbitmq_binaries.binaries),
    )
    servers = [name for name, variable, find in wanted if not os.environ.get(variable) and not has_binaries(find)]
    extra_servers = [name for name in extras if name in EXTRAS and not has_binaries(EXTRAS[name])]
    return list(dict.fromkeys(servers + extra_servers + tools))


def root_prefix() -> list[str] | None:
    """How to run a command as root without being asked for a password; `None` when there is no way."""
    if os.getuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def apt(packages: list[str], root: list[str]) -> str | None:
    """Install the packages with no service started; what went wrong, or `None`."""
    with tempfile.TemporaryDirectory() as folder:
        policy, cluster = Path(folder, "policy"), Path(folder, "cluster")
        policy.write_text("#!/bin/sh\nexit 101\n")
        cluster.write_text("create_main_cluster = false\n")
        ours = [
            (source, target) for source, target in ((policy, POLICY), (cluster, CLUSTER_SETTING)) if not target.exists()
        ]
        steps = [[*root, "install", "-D", "-m", "0755", str(source), str(target)] for source, target in ours]
        apt_get = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        steps.append([*apt_get, "update"])
        steps.append([*apt_get, "install", "-y", "--no-install-recommends", *packages])
        try:
            for step in steps:
                done = subprocess.run(step, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
                if done.returncode != 0:
                    return f"`{' '.join(step)}` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        finally:
            targets = [str(target) for _, target in ours]
            subprocess.run([*root, "rm", "-f", *targets], check=False, capture_output=True)
    return None


def main(extras: Sequence[str] = ()) -> int:
    """Install what is missing and tell what will be used; 1 when a server cannot be had."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{EXTRA_PATH}"
    try:
        packages = missing(extras)
    except WrongTree as error:
        print(error, file=sys.stderr)
        return 1
    if packages:
        names = " and ".join(packages)
        by_hand = f"Install {names} yourself (Debian, Ubuntu: apt-get install {' '.join(packages)})"
        if not TOOLS.keys() >= set(packages):
            by_hand += f", start a Docker engine, or name running servers in {DATABASE_VARIABLE} and {AMQP_VARIABLE}"
        by_hand += "."
        root = root_prefix()
        if root is None or shutil.which("apt-get") is None:
            why = "this is not root and sudo asks for a password" if root is None else "this machine has no apt-get"
            print(f"{names}: missing, and cannot be installed from here: {why}.\n{by_hand}", file=sys.stderr)
            return 1
        print(f"Installing the Debian packages {names}; their services are not started.", flush=True)
        if problem := apt(packages, root):
            print(f"{problem}\n{by_hand}", file=sys.stderr)
            return 1
    for service, source in plan().items():
        print(f"{service}: {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
