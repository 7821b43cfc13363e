"""Becomes another program that the kernel kills when our parent dies, however it dies.

Run by path, on the standard library alone: `python leash.py PARENT_PID PROGRAM ARGUMENT…`. The process id and the exit
code are the program's own.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal and become the program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent ended before the program began")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
