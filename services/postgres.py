"""Postgres: any server we may use (`PostgresServer`), and one that is ours to break (`Postgres`)."""

import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from services.process import Process, ServerFailed, User, environment, first_start, free_port, make_folder
from services.tls import Tls

Mode = Literal["smart", "fast", "immediate"]
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
STOP_S = 30.0
"""A port found free may be taken by somebody else before the server has it; then another one is tried."""


class PostgresServer:
    """A server whose superuser we are."""

    how = "RELAY_TEST_DATABASE_URL"
    """Where it came from, for a person."""

    def __init__(self, url: str) -> None:
        """`url` is the superuser's, with any database of the server."""
        self._info = psycopg.conninfo.conninfo_to_dict(url)

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """A URL of it; the superuser's unless another user is named."""
        info = {name: str(value) for name, value in self._info.items() if value is not None}
        info.pop("dbname", None)
        host, port = info.pop("host", "127.0.0.1"), info.pop("port", "5432")
        name, secret = info.pop("user", "postgres"), info.pop("password", None)
        if user is not None:
            name, secret = user, password
        login = quote(name, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        options = "&".join(f"{key}={quote(value, safe='')}" for key, value in info.items())
        return f"postgresql://{login}@{quote(host, safe='')}:{port}/{quote(database, safe='')}" + (
            f"?{options}" if options else ""
        )

    def admin(
        self,
        query: LiteralString | sql.SQL | sql.Composed,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        database: str = "postgres",
    ) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, outside of a transaction; its rows, if it gives any."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """Create a database as a copy of `template`."""
        self.admin(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        self.admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def close(self) -> None:
        """Nothing is ours to stop."""


class Postgres(PostgresServer):
    """A private server in a temporary folder, on 127.0.0.1 and on a Unix socket in `folder`.

    Its superuser is `postgres` with a password of its own; over TCP passwords are asked (scram), over the socket not.
    Methods block; call them through `asyncio.to_thread` where the event loop must turn meanwhile.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        hba: Sequence[str] = (),
        tls: Tls | None = None,
    ) -> None:
        """Start it. `hba` lines come first in pg_hba.conf; without `durable` it writes with fsync off.

        Raises ServerFailed, also when there are no binaries.
        """
        self.bin = binaries()
        self.password = secrets.token_urlsafe(12)
        self._user = User.named("postgres")
        self._env = environment(("PG",), LC_ALL="C.UTF-8")
        self.folder = make_folder("relay-postgres", self._user)
        self.data = self.folder / "data"
        self._process = Process(self.folder, self.folder / "postgres.log", signal.SIGQUIT, self._user)
        try:
            self._make_data(hba)
            self._configure({} if durable else {"fsync": "off", "full_page_writes": "off"}, settings or {}, tls)
            first_start(self._start_anew)
        except BaseException:
            self._process.remove()
            raise
        self.how = f"the machine's own binaries, {self.bin}"

    def _make_data(self, hba: Sequence[str]) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        self._user.own(secret)
        argv = [str(self.bin / "initdb"), "-D", str(self.data), "-U", "postgres", "--pwfile", str(secret)]
        argv += ["-E", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"]
        self._user.run([*argv, "-A", "scram-sha-256"], env=self._env, cwd=self.folder)
        secret.unlink()
        lines = [*hba, "local all,replication all trust", "host all,replication all 127.0.0.1/32 scram-sha-256"]
        (self.data / "pg_hba.conf").write_text("\n".join(lines) + "\n")

    def _configure(self, speed: Mapping[str, str], settings: Mapping[str, str], tls: Tls | None) -> None:
        chosen = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            "timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%a ",
        }
        if tls is not None:
            chosen |= {"ssl": "on"}
            for name, source in (("ssl_ca_file", tls.ca), ("ssl_cert_file", tls.cert), ("ssl_key_file", tls.key)):
                copy = self.data / name
                shutil.copyfile(source, copy)
                copy.chmod(0o600)
                self._user.own(copy)
                chosen[name] = str(copy)
        quoted = {name: value.replace("'", "''") for name, value in (chosen | dict(speed) | dict(settings)).items()}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in quoted.items())

    def _start_anew(self) -> None:
        self.port = free_port()
        login = f"postgres:{quote(self.password, safe='')}"
        super().__init__(f"postgresql://{login}@127.0.0.1:{self.port}/postgres")
        self.start()

    def start(self) -> None:
        """Start it on its data and port; returns when it takes connections."""
        self._process.start([str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port)], self._env)
        self._process.wait_ready(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._process.running

    def processes(self) -> list[int]:
        """The ids of its processes."""
        return self._process.members()

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it and wait for its end; `immediate` is a crash that the server itself commits."""
        self.resume()
        self._process.signal_main(_SIGNALS[mode])
        if not self._process.wait_end(STOP_S):
            self.kill()
            raise ServerFailed(f"Postgres did not stop ({mode}) within {STOP_S} s:\n{self._process.tail()}")
        self._process.end()

    def kill(self) -> None:
        """SIGKILL every process of it."""
        self._process.signal_all(signal.SIGKILL)
        self._process.end()

    def restart(self, mode: Mode = "fast") -> None:
        """Stop it that way and start it."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._process.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        self._process.signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its folder."""
        self._process.remove()


def binaries() -> Path:
    """The folder of the newest `postgres` and `initdb`. Raises ServerFailed when there is none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name))
    on_path = shutil.which("postgres")
    candidates = [*reversed(versions), *([Path(on_path).resolve().parent] if on_path else [])]
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise ServerFailed("no Postgres binaries: on Debian and Ubuntu `apt-get install postgresql`")


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0
