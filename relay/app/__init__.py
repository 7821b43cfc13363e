"""The composition root: what the commands do, put together from the parts below."""

from relay.app.check import Finding, Verdict, check
from relay.app.daemon import run
from relay.app.doorbell import Bell, doorbell
from relay.app.mend import back_by_itself
from relay.app.status import Server, Status, status
from relay.app.table import cleanup, requeue

__all__ = [
    "Bell",
    "Finding",
    "Server",
    "Status",
    "Verdict",
    "back_by_itself",
    "check",
    "cleanup",
    "doorbell",
    "requeue",
    "run",
    "status",
]
