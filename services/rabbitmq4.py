"""Fetches RabbitMQ 4 with the Erlang it needs, from Debian's trixie, into a folder of ours: `make rabbitmq4`.

Nothing is installed, and nobody need be root: apt, with a state of its own, takes the packages from the mirror this
machine's apt is configured with and checks their signatures. They are unpacked, and the programs among them are told
to use the C library that lies beside them, because an older machine's is too old for them.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from services.rabbitmq_binaries import TREE_VARIABLE, WrongTree, unpacked

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = ("rabbitmq-server", "patchelf")
PLACE = Path(__file__).parent.parent / ".services" / "rabbitmq-4"
ERLANG = Path("usr/lib/erlang")
BY_HAND = (
    f"Name an unpacked RabbitMQ in {TREE_VARIABLE} instead, or let a Docker engine answer: its image is RabbitMQ 4."
)


class NotFetched(Exception):
    """It cannot be had from here; the message says why and what else would do."""


def main() -> int:
    """Fetch it unless it is there, and print its folder; 1 when it cannot be had."""
    try:
        print(fetch(PLACE))
    except NotFetched as error:
        print(f"RabbitMQ 4 cannot be fetched: {error}\n{BY_HAND}", file=sys.stderr)
        return 1
    return 0


def fetch(place: Path) -> Path:
    """Make the server tree at `place`, if it is not there; return it. Raises NotFetched.

    It cannot be moved afterwards: the programs know where they lie.
    """
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for package in _download(unfinished / "apt"):
            _run(["dpkg-deb", "--extract", str(package), str(unfinished)])
        _adapt(unfinished, place)
        shutil.rmtree(unfinished / "apt")
        unfinished.rename(place)
    try:
        unpacked(place)
    except WrongTree as error:
        raise NotFetched(str(error)) from None
    return place


def _download(apt: Path) -> list[Path]:
    """Bring the packages and all they need, as if nothing were installed, into a folder of apt's; their files."""
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    settings = {
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt,
        "Dir::Cache::archives": apt / "archives",
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",  # apt's own user cannot enter everybody's checkout
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _run(["apt-get", *options, "update"])
    _run(["apt-get", *options, "install", "--download-only", "--no-install-recommends", "--yes", *PACKAGES])
    return sorted((apt / "archives").glob("*.deb"))


def mirror() -> str:
    """The Debian mirror this machine's apt uses. Raises NotFetched."""
    if shutil.which("apt-get") is None or not KEYRING.exists():
        raise NotFetched("this machine is not a Debian (no apt-get, or no debian-archive-keyring)")
    shown = ("--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian")
    mirrors = _run(["apt-get", "indextargets", *shown]).split()
    if not mirrors:
        raise NotFetched("apt knows no Debian mirror; try `apt-get update`")
    return mirrors[0]


def _adapt(tree: Path, place: Path) -> None:
    """Tell everything that is to run from `place` that it lies there."""
    libraries = _only(tree, "usr/lib/*/libc.so.6").parent.relative_to(tree)
    loader = _only(tree, "usr/lib/*/ld-linux*.so*").relative_to(tree)
    patchelf = [str(tree / loader), "--library-path", str(tree / libraries), str(tree / "usr/bin/patchelf")]
    programs = [path for path in (tree / ERLANG).rglob("*") if _is_program(path)]
    where = ["--set-interpreter", str(place / loader), "--force-rpath", "--set-rpath", str(place / libraries)]
    _run([*patchelf, *where, *map(str, programs)])
    for script in (tree / ERLANG).rglob("bin/erl"):
        script.write_text(script.read_text().replace(f"ROOTDIR=/{ERLANG}", f'ROOTDIR="{place / ERLANG}"'))


def _only(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if not found:
        raise NotFetched(f"the packages hold no {pattern}")
    return found[0]


def _is_program(path: Path) -> bool:
    """Whether it is a program of the machine's own kind, neither a script nor a library."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & stat.S_IXUSR:
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _run(argv: Sequence[str]) -> str:
    """Run it; its standard output. Raises NotFetched with the end of what it said."""
    env = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotFetched(f"`{argv[0]}` failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
