"""What is wrong with a server's URL, and how to show it without its password. Pure; no text repeats a value.

The checks are strict about characters that the libraries read in different ways (a raw `@`, `/`, `?` or `#` in a
password): their own error texts would print a part of it.
"""

import difflib
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

HIDDEN = "****"
PORT_MAX = 65535
POSTGRES_SCHEMES = ("postgresql", "postgres")
AMQP_SCHEMES = ("amqps", "amqp")
AMQP_PARAMETERS = ("cafile", "capath", "certfile", "keyfile", "no_verify_ssl")
ELSEWHERE = {
    "heartbeat": "RELAY_HEARTBEAT_SECONDS",
    "name": "RELAY_NAME",
    "connection_name": "RELAY_NAME",
    "timeout": "RELAY_CONFIRM_TIMEOUT_SECONDS",
    "connection_timeout": "RELAY_CONFIRM_TIMEOUT_SECONDS",
}
"""Query parameters other AMQP clients know, and the setting that stands for them here."""
ENCODE = "percent-encode special characters in the user name and the password (@ is %40, / is %2F, : is %3A, ? is %3F)"
_SECRET_PARAMETER = re.compile(r"pass(word|wd|phrase)?$|secret|token|(^|_)key$|credential", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_URL = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<behind>.*)", re.DOTALL)
_HOST = re.compile(r"(?P<name>\[[^\]]+\]|[^\[\]:]*)(?::(?P<port>[0-9]*))?")


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    user: str
    password: str | None
    hosts: str
    path: str
    query: tuple[tuple[str, str], ...]


def database_problems(url: str) -> list[str]:
    """Return what keeps `url` from being a usable libpq URL; empty when nothing does."""
    parts, problems = _split(url, POSTGRES_SCHEMES)
    if parts is None:
        return problems
    query = dict(parts.query)
    service = "service" in query
    if not (parts.hosts or query.get("host") or query.get("hostaddr") or service):
        problems.append("names no host: postgresql://user:password@host:5432/database")
    if not (parts.path.strip("/") or query.get("dbname") or service):
        problems.append("names no database: postgresql://user:password@host:5432/database")
    return problems


def amqp_problems(url: str) -> list[str]:
    """Return what keeps `url` from being a usable AMQP URL; empty when nothing does."""
    parts, problems = _split(url, AMQP_SCHEMES)
    if parts is None:
        return problems
    if not parts.hosts:
        problems.append("names no host: amqp://user:password@host:5672/vhost")
    elif any(not host.partition(":")[0] for host in parts.hosts.split(",")):
        problems.append("names an empty host; several nodes of a cluster are host:5672,host:5672")
    if "/" in parts.path.removeprefix("/"):
        problems.append("the virtual host holds a /; write it as %2F")
    names = [name for name, _ in parts.query]
    problems += [_stranger(name) for name in names if name not in AMQP_PARAMETERS]
    if parts.scheme == "amqp" and set(names) & set(AMQP_PARAMETERS):
        problems.append("has TLS parameters, but amqp:// does not use TLS; write amqps://")
    if ("certfile" in names) != ("keyfile" in names):
        problems.append("needs both certfile and keyfile, or neither")
    return problems


def mask(url: str) -> str:
    """Show where and as whom a URL connects, with every password hidden; a URL that cannot be read is hidden whole."""
    parts, problems = _split(url, POSTGRES_SCHEMES + AMQP_SCHEMES)
    if parts is None or problems:
        return HIDDEN
    password = "" if parts.password is None else f":{HIDDEN}"
    user = f"{parts.user}{password}@" if parts.user or password else ""
    shown = [f"{name}={HIDDEN if _SECRET_PARAMETER.search(name) else value}" for name, value in parts.query]
    query = f"?{'&'.join(shown)}" if shown else ""
    return f"{parts.scheme}://{user}{parts.hosts}{parts.path}{query}"


def _split(url: str, schemes: tuple[str, ...]) -> tuple[_Parts | None, list[str]]:
    """Take a URL apart; without parts there is always a problem."""
    if not url:
        return None, ["is empty"]
    if not url.isprintable() or any(character.isspace() for character in url):
        return None, ["contains white space or control characters"]
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in schemes:
        return None, [f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes[:2])}"]
    # Without the hosts: Python allows an address in brackets only where it stands alone, and not in every release.
    split = urlsplit(f"{found['scheme']}://{found['behind']}")
    userinfo, at, hosts = found["authority"].rpartition("@")
    user, colon, password = userinfo.partition(":")
    pairs = [pair.partition("=") for pair in split.query.split("&") if split.query]
    query = tuple((name, value) for name, _, value in pairs)
    problems = _misread(split, userinfo, hosts)
    if any(not name or not equals for name, equals, _ in pairs):
        problems.append("has a query part that is not name=value")
    return _Parts(split.scheme, user if at else "", password if colon else None, hosts, split.path, query), problems


def _misread(split: SplitResult, userinfo: str, hosts: str) -> list[str]:
    """Find what two libraries would read in two ways, or print in their errors."""
    problems = []
    behind = split.path + split.query + split.fragment
    if set("@[]") & set(userinfo) or ":" in userinfo.partition(":")[2] or "@" in behind or split.fragment:
        problems.append(f"cannot be read for sure; {ENCODE}")
    elif any(not _host_reads(host) for host in hosts.split(",")):
        problems.append(f"the host or the port is wrong (ports are 1 to {PORT_MAX}); {ENCODE}")
    if _BAD_PERCENT.search(userinfo + hosts + behind):
        problems.append("has a % that is not followed by two hexadecimal digits; a percent sign itself is %25")
    return problems


def _host_reads(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and (match["port"] is None or 1 <= int(match["port"] or 0) <= PORT_MAX)


def _stranger(name: str) -> str:
    """Blame a query parameter; only names we know are repeated, for a misread password may stand there."""
    if name in ELSEWHERE:
        return f"the query parameter {name} is not used here; set {ELSEWHERE[name]}"
    close = difflib.get_close_matches(name, AMQP_PARAMETERS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"has an unknown query parameter{hint}; known are {', '.join(AMQP_PARAMETERS)}"
