"""The composition root: what the commands do, put together from the parts below."""

from relay.app.check import Finding, Verdict, check
from relay.app.daemon import run
from relay.app.status import Status, status
from relay.app.table import cleanup, requeue

__all__ = ["Finding", "Status", "Verdict", "check", "cleanup", "requeue", "run", "status"]
