"""Which `RELAY_*` variables nobody reads: a mistyped setting must not be ignored in silence. Pure."""

import difflib
import re
from collections.abc import Collection, Mapping

PREFIX = "RELAY_"
TEST_PREFIX = "RELAY_TEST_"
ALIKE = 0.55
"""Least similarity of a suggestion; BATHC is 0.53 like BATCH_SIZE, so words are compared as well."""

# Kubernetes puts these into every pod of a namespace that has a Service whose name begins with `relay`.
_SERVICE = re.compile(r"RELAY_(\w+_)?SERVICE_(HOST|PORT(_\w+)?)")
_SERVICE_PORT = re.compile(r"RELAY_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_LINK = re.compile(r"(tcp|udp|sctp)://")


def service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes, and not a person, has set this variable."""
    if _SERVICE.fullmatch(name) or _SERVICE_PORT.fullmatch(name):
        return True
    # A bare RELAY_…_PORT may be a slip of RELAY_HTTP_PORT; only its value tells.
    return name.endswith("_PORT") and _LINK.match(value) is not None


def strangers(env: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Return a line for every variable that begins with RELAY_ and is no setting."""
    names = sorted(
        name
        for name, value in env.items()
        if name.startswith(PREFIX)
        and name not in known
        and not name.startswith(TEST_PREFIX)
        and not service_link(name, value)
    )
    return [f"{name}: no such setting{_hint(name, known)}" for name in names]


def _hint(name: str, known: Collection[str]) -> str:
    """Suggest the setting that is spelt most alike, the prefix aside: it would make all of them alike."""
    wanted = name.removeprefix(PREFIX)
    scores = {candidate: _alike(wanted, candidate.removeprefix(PREFIX)) for candidate in sorted(known)}
    best = max(scores, key=lambda candidate: scores[candidate])
    return f"; did you mean {best}?" if scores[best] >= ALIKE else ""


def _alike(wanted: str, candidate: str) -> float:
    """Compare whole names, and the beginnings when the wanted one is shorter."""
    whole = difflib.SequenceMatcher(None, wanted, candidate).ratio()
    start = difflib.SequenceMatcher(None, wanted, candidate[: len(wanted)]).ratio()
    return max(whole, 0.95 * start if len(wanted) >= 4 else 0.0)  # noqa: PLR2004 -- shorter ones resemble anything
