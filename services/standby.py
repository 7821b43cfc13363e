"""A standby of a private Postgres."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from services.postgres import Postgres
from services.process import POLL_S, READY_S, ServerFailed

SETTINGS = {"wal_receiver_timeout": "0"}
"""It must not connect anew, to a second sender, while the first is frozen."""


class Standby(Postgres):
    """A readable copy that streams from `primary`; synchronous once its commits wait for it, see `be_waited_for`."""

    def __init__(self, primary: Postgres) -> None:
        """Copy it and start. Raises ServerFailed."""
        self.primary = primary
        super().__init__(settings=SETTINGS)
        self.until(lambda: self.streaming, "it does not stream")

    def _make_data(self, hba: Sequence[str]) -> None:
        assert not hba, "a standby has its primary's pg_hba.conf"
        self.password = self.primary.password
        argv = [str(self.bin / "pg_basebackup"), "-D", str(self.data), "-d", self.primary.url(), "-R", "-X", "stream"]
        self._user.run([*argv, "-c", "fast", "--no-sync"], env=self._env, cwd=self.folder)

    @property
    def streaming(self) -> bool:
        """Whether the primary sends to it."""
        return self.primary.admin("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == [(1,)]

    @property
    def caught_up(self) -> bool:
        """Whether it has replayed all that was committed on the primary so far, asynchronously too."""
        ((place,),) = self.primary.admin("SELECT pg_current_wal_insert_lsn()")
        return self.admin("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (str(place),)) == [(True,)]

    def be_waited_for(self) -> None:
        """Make the primary's commits wait until this standby has them on disk."""
        self.primary.admin("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.admin("SELECT pg_reload_conf()")
        waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        self.until(lambda: self.primary.admin(waits) == [(1,)], "it is not synchronous")

    def fall_behind(self) -> None:
        """Freeze what sends to it: nothing the primary writes from now on arrives."""
        self._signal_sender(signal.SIGSTOP)

    def catch_up(self) -> None:
        """Thaw that again."""
        self._signal_sender(signal.SIGCONT)

    def _signal_sender(self, number: signal.Signals) -> None:
        for pid in self.primary.processes():
            if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, number)
                return
        raise ServerFailed("the primary sends to no standby")

    def promote(self) -> None:
        """Make it a primary of its own; returns when it takes writes."""
        if self.admin("SELECT pg_promote(true, %s)", (int(READY_S),)) != [(True,)]:
            raise ServerFailed(f"the standby was not promoted:\n{self._process.tail()}")

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Ask until it is so. Raises ServerFailed."""
        deadline = time.monotonic() + READY_S
        while not true():
            if time.monotonic() > deadline:
                raise ServerFailed(f"{otherwise}:\n{self._process.tail()}")
            time.sleep(POLL_S)
