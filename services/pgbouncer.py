"""A private PgBouncer in front of a Postgres."""

import re
import shutil
import signal
from pathlib import Path

import psycopg

from services.postgres import PostgresServer
from services.process import Process, ServerFailed, User, environment, first_start, free_port, make_folder

"""A port found free may be taken by somebody else before the server has it; then another one is tried."""


class PgBouncer:
    """Pools the connections to one server, in transaction mode; any database of it, for its superuser.

    Methods block, as those of Postgres do. It keeps nothing, so it is always ended by SIGKILL.
    """

    def __init__(self, server: PostgresServer, **settings: str) -> None:
        """Start it; `settings` are of its section [pgbouncer]. Raises ServerFailed, also when there is no binary."""
        self._binary = binary()
        self._user = User.named("postgres")
        self.folder = make_folder("relay-pgbouncer", self._user)
        self._process = Process(self.folder, self.folder / "pgbouncer.log", signal.SIGKILL, self._user)
        self._settings = {"pool_mode": "transaction"} | settings
        self.point_at(server)
        try:
            first_start(self._start_anew)
        except BaseException:
            self._process.remove()
            raise

    def point_at(self, server: PostgresServer) -> None:
        """Name the server behind it, from its next start or `reload` on."""
        self.server = server

    def url(self, database: str) -> str:
        """The superuser's URL of a database behind it."""
        return re.sub("@[^/]+/", f"@127.0.0.1:{self.port}/", self.server.url(database), count=1)

    def _start_anew(self) -> None:
        self.port = free_port()
        self.start()

    def start(self) -> None:
        """Start it on its port; returns when it takes connections."""
        self._process.start([self._binary, str(self._configure())], environment(("PG",)))
        self._process.wait_ready(self._answers)

    def _configure(self) -> Path:
        info = psycopg.conninfo.conninfo_to_dict(self.server.url())
        users, file = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        users.write_text(f'"{info["user"]}" "{info["password"]}"\n')
        ours: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            "admin_users": info["user"],
            "max_client_conn": 100,
        }
        options = "".join(f"{name} = {value}\n" for name, value in {**ours, **self._settings}.items())
        file.write_text(f"[databases]\n* = host={info['host']} port={info['port']}\n[pgbouncer]\n{options}")
        self._user.own(users, file)
        return file

    def _answers(self) -> bool:
        try:
            self.say("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True

    def say(self, command: str) -> None:
        """Say a word to its console, such as RELOAD."""
        with psycopg.connect(self.url("pgbouncer"), autocommit=True, connect_timeout=5) as console:
            console.pgconn.exec_(command.encode())  # the console knows the simple protocol only

    def reload(self) -> None:
        """Let it read its configuration again."""
        self._configure()
        self.say("RELOAD")

    def kill(self) -> None:
        """SIGKILL it."""
        self._process.signal_all(signal.SIGKILL)
        self._process.end()

    def restart(self) -> None:
        """Kill and start it: every client loses its connection."""
        self.kill()
        self.start()

    def close(self) -> None:
        """End it and remove its folder."""
        self._process.remove()


def binary() -> str:
    """The program. Raises ServerFailed when there is none."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise ServerFailed("no PgBouncer: on Debian and Ubuntu `apt-get install pgbouncer`")
    return found
