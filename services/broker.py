"""Any RabbitMQ we may use: its URL, and virtual hosts where its management API answers."""

import base64
import json
import socket
import urllib.error
import urllib.request
from urllib.parse import quote, unquote, urlsplit

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
MANAGEMENT_PORT = 15672
MANAGEMENT_S = 20.0
PROBE_S = 2.0


class Broker:
    """A broker we may log in to with rights to declare, and perhaps to manage."""

    how = "RELAY_TEST_AMQP_URL"
    """Where it came from, for a person."""

    def __init__(self, url: str, *, management: str | None = None) -> None:
        """`url` is that of a user with all rights; `management` the base URL of the API, else its usual port."""
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.scheme = parts.scheme
        self.amqp_port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
        self.user = unquote(parts.username or "guest")
        self.secret = unquote(parts.password or "guest")
        self.query = parts.query
        self.vhost = unquote(parts.path.removeprefix("/")) or "/"
        self._must_manage = management is not None
        self._management = management or f"http://{self.host}:{MANAGEMENT_PORT}"

    def url(self, vhost: str | None = None, user: str | None = None, password: str | None = None) -> str:
        """Its URL with that vhost and user; the vhost and user of its own when none is named."""
        login = (self.user, self.secret) if user is None else (user, password or "")
        name, secret = (quote(part, safe="") for part in login)
        path = quote(self.vhost if vhost is None else vhost, safe="")
        tail = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{name}:{secret}@{self.host}:{self.amqp_port}/{path}{tail}"

    def manages(self) -> bool:
        """Whether its management API lets us in."""
        try:
            self.api("GET", "/api/vhosts", timeout_s=PROBE_S)
        except OSError:
            return False
        return True

    def api(self, method: str, path: str, body: object = None, *, timeout_s: float = MANAGEMENT_S) -> object:
        """One call of the management API; its JSON, or None. Raises OSError (urllib's HTTPError is one)."""
        login = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
        request = urllib.request.Request(
            self._management + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        # No proxy of the shell's may stand between us and a broker of ours.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout_s) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def add_vhost(self, name: str) -> str:
        """Create a virtual host we have all rights in; its name.

        A broker that cannot be managed gives its URL's own vhost: who uses it removes what it declared.
        """
        try:
            self.api("PUT", f"/api/vhosts/{quote(name, safe='')}", {})
        except OSError:
            if self._must_manage:
                raise
            return self.vhost
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self.api("PUT", f"/api/permissions/{quote(name, safe='')}/{quote(self.user, safe='')}", rights)
        return name

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host that `add_vhost` created."""
        if name != self.vhost:
            self.api("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def add_user(self, name: str, password: str, *, vhost: str, configure: str, write: str, read: str) -> None:
        """Create a user with those rights (regular expressions) in one vhost. Raises OSError: not to be managed."""
        self.api("PUT", f"/api/users/{quote(name, safe='')}", {"password": password, "tags": ""})
        rights = {"configure": configure, "write": write, "read": read}
        self.api("PUT", f"/api/permissions/{quote(vhost, safe='')}/{quote(name, safe='')}", rights)

    def delete_user(self, name: str) -> None:
        """Delete a user."""
        self.api("DELETE", f"/api/users/{quote(name, safe='')}")

    def close(self) -> None:
        """Nothing is ours to stop."""


def answers_amqp(host: str, port: int) -> bool:
    """Whether a broker there greets an AMQP client (a port that only accepts is not ready)."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_S) as connection:
            connection.settimeout(PROBE_S)
            connection.sendall(PROTOCOL_HEADER)
            return connection.recv(1) == b"\x01"  # the method frame of connection.start
    except OSError:
        return False
