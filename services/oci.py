"""Images and containers without an engine: debootstrap makes a base, buildah builds on it, podman runs what came out.

Needs root on Debian. Everything lies in a storage of its own, which is removed at the end: an image or container that
the machine has otherwise is neither seen nor touched.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from services.rabbitmq4 import KEYRING, mirror

SUITE = "trixie"
"""The Debian whose own Python has the minor version of the Dockerfile's base."""
PACKAGES = ("python3", "python3-venv", "ca-certificates")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""The machine's authorities: behind a proxy that has one of its own, the build must trust it, too."""
HARDENED = (
    *("--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
    *("--ulimit", "nofile=1024:1024"),
    *("--ulimit", "nproc=1024:1024"),
    *("--network", "host"),
)
"""As the README says one runs it; the host's network, as the servers listen on its loopback."""
BUILD_S, RUN_S = 1800, 120


class Failed(Exception):
    """A command ended with an error; the text is the end of what it said."""


def run(argv: Sequence[str | Path], *, timeout_s: float = RUN_S) -> str:
    """Run a command; what it printed. Raises Failed."""
    # The health check is asked for by us, not by a timer of systemd's.
    env = os.environ | {"BUILDAH_ISOLATION": "chroot", "DISABLE_HC_SYSTEMD": "true"}
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise Failed(f"there is no {argv[0]}: `make prove-image` installs it on Debian, as root") from None
    if done.returncode != 0:
        raise Failed(f"`{argv[0]} {argv[1]}` ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


class Storage:
    """Where images and containers are, from `with` to its end."""

    def __init__(self, place: Path) -> None:
        """`place` is a folder of ours; what an earlier run left there is removed."""
        self._place = place
        self._options = ["--root", str(place / "storage"), "--runroot", str(place / "run")]

    def __enter__(self) -> Self:
        self._remove()
        self._place.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        if (self._place / "storage").exists():
            run(["podman", *self._runtime(), "rm", "--all", "--force", "--time", "0"])
            run(["buildah", *self._options, "rm", "--all"])
            run(["buildah", *self._options, "rmi", "--all", "--force"])
        for mount in reversed(_mounts_below(self._place)):
            run(["umount", mount])
        shutil.rmtree(self._place, ignore_errors=True)

    def _runtime(self) -> list[str]:
        # crun and systemd want control groups of their own; runc does without.
        return [*self._options, "--runtime", "runc", "--cgroup-manager", "cgroupfs"]

    def buildah(self, *args: str | Path, timeout_s: float = RUN_S) -> str:
        """One call of buildah."""
        return run(["buildah", *self._options, *args], timeout_s=timeout_s)

    def podman(self, *args: str | Path, timeout_s: float = RUN_S) -> str:
        """One call of podman."""
        return run(["podman", *self._runtime(), *args], timeout_s=timeout_s)

    def base(self, archive: Path, name: str) -> None:
        """Make an image of Debian's own Python; `archive` keeps it for the next time."""
        if not archive.exists():
            _bootstrap(archive)
        container = self.buildah("from", "scratch").strip()
        self.buildah("add", "--quiet", container, archive, "/")
        self.buildah("commit", "--quiet", "--rm", container, name, timeout_s=BUILD_S)

    def build(self, folder: Path, name: str, arguments: Mapping[str, str]) -> None:
        """Build the Dockerfile that is there."""
        given = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
        # HEALTHCHECK is no part of the OCI format, which is the default.
        self.buildah("bud", "--format", "docker", *given, "--tag", name, folder, timeout_s=BUILD_S)

    def inspect(self, image: str) -> dict[str, Any]:
        """All that is known of an image."""
        [found] = json.loads(self.podman("image", "inspect", image))
        return dict(found)


def _mounts_below(place: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = (line.split()[1].replace("\\040", " ") for line in lines)
    return [point for point in points if point.startswith(f"{place}/")]


def _bootstrap(archive: Path) -> None:
    """Have debootstrap unpack a small Debian with Python, and keep it as an archive."""
    tree = archive.with_name(f"{archive.name}.{token_hex(4)}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        include = f"--include={','.join(PACKAGES)}"
        keyring = f"--keyring={KEYRING}"
        run(["debootstrap", "--variant=minbase", include, keyring, SUITE, tree, mirror()], timeout_s=BUILD_S)
        shutil.copyfile(BUNDLE, tree / BUNDLE.relative_to("/"))
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / cache)
        unfinished = archive.with_suffix(".unfinished")
        run(["tar", "--create", "--file", unfinished, "--directory", tree, "--exclude=./dev/*", "."], timeout_s=BUILD_S)
        unfinished.rename(archive)
    finally:
        for mount in reversed(_mounts_below(tree)):
            run(["umount", mount])
        shutil.rmtree(tree, ignore_errors=True)


class Container:
    """One container of the image, from `with` to its end."""

    def __init__(self, storage: Storage, image: str, env: Mapping[str, str], *args: str) -> None:
        """`args` are the words after `relay`; none: those of the image."""
        self._storage = storage
        self.name = f"relay-{token_hex(4)}"
        given = [part for key, value in env.items() for part in ("--env", f"{key}={value}")]
        self._start = ["run", "--detach", "--name", self.name, *HARDENED, *given, image, *args]

    def __enter__(self) -> Self:
        self._storage.podman(*self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.podman("rm", "--force", "--time", "0", self.name)

    def execute(self, *argv: str) -> str:
        """Run a command inside; what it printed. Raises Failed."""
        return self._storage.podman("exec", self.name, *argv)

    def healthy(self) -> bool:
        """Whether the image's own health check says so."""
        try:
            self._storage.podman("healthcheck", "run", self.name)
        except Failed:
            return False
        return True

    def stop(self, grace_s: int) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        self._storage.podman("stop", "--time", str(grace_s), self.name)

    def code(self) -> int:
        """Wait for its end; its exit code."""
        return int(self._storage.podman("wait", self.name))

    def log(self) -> str:
        """All it has said."""
        return self._storage.podman("logs", self.name)
