"""Which RabbitMQ a private node is made of: the machine's own, or an unpacked one named by the environment."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from services.process import ServerFailed, User

TREE_VARIABLE = "RELAY_TEST_RABBITMQ"
"""Names the folder of an unpacked server to use instead of the machine's own, such as `make rabbitmq4` makes."""
OWN_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
"""Debian's /usr/sbin has wrappers that insist on the system's own node; the real scripts are here."""
TREE_SCRIPTS = ("usr/lib/rabbitmq/bin", "sbin")
"""Where an unpacked server has them: Debian's packages, and the release for any Unix."""


class WrongTree(Exception):
    """There is no server where the environment says; the message says what it should name."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """What it takes to run a node."""

    scripts: Path
    """The folder of `rabbitmq-server` and `rabbitmqctl`."""
    path: str
    """The PATH to run them with: it leads to the Erlang they need."""
    user: User
    how: str
    """Where they came from, for a person."""

    def __str__(self) -> str:
        return str(self.scripts)


def binaries() -> Binaries:
    """Those to use. Raises ServerFailed when the machine has none, WrongTree when the named folder has none."""
    usual = os.environ.get("PATH", os.defpath)
    if named := os.environ.get(TREE_VARIABLE):
        return unpacked(Path(named).absolute(), usual)
    on_path = shutil.which("rabbitmq-server")
    for scripts in (OWN_SCRIPTS, *([Path(on_path).resolve().parent] if on_path else [])):
        if _complete(scripts, usual):
            return Binaries(scripts, usual, User.named("rabbitmq"), f"the machine's own binaries, {scripts}")
    raise ServerFailed("no RabbitMQ binaries: on Debian and Ubuntu `apt-get install rabbitmq-server`")


def unpacked(folder: Path, usual_path: str = os.defpath) -> Binaries:
    """Those of an unpacked server. Raises WrongTree."""
    path = f"{folder / 'usr/bin'}:{usual_path}"
    for scripts in (folder / each for each in TREE_SCRIPTS):
        if _complete(scripts, path):
            # It runs as we do: another user may not be able to go where it lies.
            return Binaries(scripts, path, User(None, None), f"the binaries in {folder}")
    raise WrongTree(
        f"there is no RabbitMQ with its Erlang in {folder}. {TREE_VARIABLE} should name the folder that"
        " `make rabbitmq4` prints, or an unpacked release of RabbitMQ with Erlang on the PATH; unset it to use the"
        " machine's own."
    )


def _complete(scripts: Path, path: str) -> bool:
    needed = (scripts / "rabbitmq-server", scripts / "rabbitmqctl")
    return all(each.exists() for each in needed) and shutil.which("erl", path=path) is not None
