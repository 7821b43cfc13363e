"""Where mutants are tried: copies of the tree in a temporary folder, and servers that all of them share."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex

from demo.processes import LEASH
from sabotage.catalogue import Misfit, Mutant
from sabotage.verdict import Said, Verdict, read
from services import find

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".*", "build", "dist", "*.egg-info")
TEST_S = 60
"""The longest one test may take, unless it says otherwise itself."""
TRIAL_S = 900.0
AT_ONCE_MAX = 4
"""Some tests start servers of their own."""
PYTEST = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "-o", "junit_family=xunit1")


class Unsound(Exception):
    """The chosen tests could not be run; the message has pytest's own words."""


class Workshop:
    """The servers and the sound copy, until `close`."""

    def __init__(self) -> None:
        """Start the servers. Raises what `services` raises."""
        self._postgres = find.shared_postgres()
        try:
            self._rabbitmq = find.shared_rabbitmq()
        except BaseException:
            self._postgres.close()
            raise
        self._folder = Path(tempfile.mkdtemp(prefix="relay-sabotage-"))
        self._sound = self._folder / "sound"
        shutil.copytree(ROOT, self._sound, ignore=shutil.ignore_patterns(*LEFT_OUT))
        self.at_once = min(AT_ONCE_MAX, os.cpu_count() or 1) if self._rabbitmq.manages() else 1
        """Mutants that may be tried at the same time; each needs a vhost of its own."""

    def close(self) -> None:
        """End the servers and remove every copy."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._rabbitmq.close()
        self._postgres.close()

    def sound(self, tests: Sequence[str]) -> dict[str, Said]:
        """Run tests on the tree as it is. Raises Unsound."""
        files = sorted({test.partition("::")[0] for test in tests})
        parts = [
            [test for test in tests if test.startswith(tuple(files[n :: self.at_once]))] for n in range(self.at_once)
        ]
        with ThreadPoolExecutor(self.at_once) as pool:
            said = pool.map(lambda part: self._run(self._sound, part), filter(None, parts))
            return {test: each for part in said for test, each in part.items()}

    def trial(self, mutant: Mutant) -> Verdict:
        """Plant a mutant in a copy of its own and run the tests that must find it."""
        began = time.monotonic()
        tree = self._folder / mutant.name
        # With its compiled files: a copy keeps their dates, and the planted file alone is compiled anew.
        shutil.copytree(self._sound, tree)
        said: dict[str, Said] = {}
        trouble = ""
        try:
            mutant.plant(tree)
            said = self._run(tree, mutant.red)
        except (Misfit, Unsound) as error:
            trouble = str(error)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        return Verdict(mutant, said, time.monotonic() - began, trouble)

    def _run(self, tree: Path, tests: Sequence[str]) -> dict[str, Said]:
        name = f"sabotage-{token_hex(4)}"
        report = self._folder / f"{name}.xml"
        vhost = self._rabbitmq.add_vhost(name)
        # On the leash: the kernel ends it with us, and the servers it started with it.
        argv = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), sys.executable, "-m", "pytest", *PYTEST]
        try:
            done = subprocess.run(
                [*argv, f"--timeout={TEST_S}", f"--junitxml={report}", *tests],
                cwd=tree,
                env=self._environment(tree, vhost),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TRIAL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unsound(f"the tests did not end in {TRIAL_S:g} s") from None
        finally:
            self._rabbitmq.delete_vhost(vhost)
        if not report.exists():
            raise Unsound(f"pytest exited {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
        return read(report.read_text(encoding="utf-8"))

    def _environment(self, tree: Path, vhost: str) -> dict[str, str]:
        return os.environ | {
            "PYTHONPATH": str(tree),
            find.DATABASE_VARIABLE: self._postgres.url(),
            find.AMQP_VARIABLE: self._rabbitmq.url(vhost),
        }
