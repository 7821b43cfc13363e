"""Stands between us and a server we start, so that nothing outlives us, whatever happens to us.

Run by path, on the standard library alone. It starts the command, adopts every process the command leaves behind
(epmd makes itself an orphan on purpose) and ends all of them when the command ends, or when its own standard input
ends: the kernel closes that pipe even when the parent is killed with SIGKILL. A parent that ends in order writes
`KEEP` first; without it the folder is removed too, because nobody else is left to do it.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

KEEP = b"keep"
PR_SET_CHILD_SUBREAPER = 36
ORDERLY_END_S = 3.0
"""How long the server may take to end after its quit signal once the parent is gone."""


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, parents before their children; zombies are not alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def send(pids: list[int], number: signal.Signals) -> None:
    """Signal those that still live."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def reap() -> tuple[list[int], bool]:
    """Collect the dead, adopted ones too: their ids, and whether any child is left, dying ones included."""
    dead: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead, False
        if pid == 0:
            return dead, True
        dead.append(pid)


def watch(server: int, wake: int) -> bytes | None:
    """Wait until the server ends (`None`) or the parent does; what the parent said last."""
    said = b""
    while True:
        ready, _, _ = select.select([sys.stdin.buffer, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            if server in reap()[0]:
                return None
        if sys.stdin.buffer in ready:
            chunk = os.read(sys.stdin.fileno(), 4096)
            said += chunk
            if not chunk:
                return said


def end_all(server: int, quit_signal: signal.Signals) -> None:
    """Ask the server to end, wait a little, and kill whatever is left."""
    if quit_signal is not signal.SIGKILL:
        send(descendants(os.getpid()), signal.SIGCONT)
        send([server], quit_signal)
        deadline = time.monotonic() + ORDERLY_END_S
        while time.monotonic() < deadline and server not in reap()[0]:
            time.sleep(0.02)
    while reap()[1]:
        send(descendants(os.getpid()), signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    """Read the order (JSON in the first argument), start the server, tell its pid, and stay until the end."""
    order = json.loads(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with Path(order["log"]).open("ab") as log:
        server = subprocess.Popen(
            order["argv"],
            cwd=order["folder"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=order["uid"],
            group=order["gid"],
            extra_groups=None if order["uid"] is None else [],
        ).pid
    sys.stdout.write(f"{server}\n")
    sys.stdout.flush()
    said = watch(server, wake)
    end_all(server, signal.SIGKILL if said is None else signal.Signals(order["quit_signal"]))
    if said is not None and said != KEEP:
        shutil.rmtree(order["folder"], ignore_errors=True)


if __name__ == "__main__":
    main()
