"""RabbitMQ: a private node in a temporary folder that is ours to break."""

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from services.broker import Broker, answers_amqp
from services.process import Process, ServerFailed, environment, first_start, free_port, make_folder
from services.rabbitmq_binaries import binaries
from services.tls import Tls

STOP_S = 60.0
"""Ports found free may be taken by somebody else before the node has them; then others are tried."""
ALARM_WATERMARK, CALM_WATERMARK = "0.00001", "0.4"
REMEMBER = "mnesia:sync_log(), mnesia:dump_log(), [dets:sync(Table) || Table <- dets:all()]."
"""Writes to their files what exists (queues, exchanges, bindings) and what is known of the logs of quorum queues."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a node has in common with the others of its cluster."""

    names: tuple[str, ...]
    """Of all nodes; the first that is ready founds the cluster, the others join it by themselves."""
    epmd_port: int
    """Theirs is started and stopped by somebody else."""
    cookie: str


class RabbitMQ(Broker):
    """A node with its own name, ports, epmd, cookie and data; it and its epmd listen on 127.0.0.1 only.

    Methods block; call them through `asyncio.to_thread` where the event loop must turn meanwhile.
    """

    def __init__(
        self,
        *,
        config: Sequence[str] = (),
        tls: Tls | None = None,
        verify_peer: bool = True,
        name: str | None = None,
        shared: Shared | None = None,
    ) -> None:
        """Start it. `config` are further lines of rabbitmq.conf; with `tls` it listens on `tls_port` too,
        and asks the client for a certificate of the same authority when `verify_peer`. `name` and `shared` make it a
        node of a cluster.

        Raises ServerFailed, also when there are no binaries.
        """
        self._binaries = binaries()
        self.name = name or f"relay-{token_hex(4)}@localhost"
        self._shared = shared
        self._user = self._binaries.user
        self.folder = make_folder("relay-rabbitmq", self._user)
        self.log = self.folder / "rabbit.log"
        self._process = Process(self.folder, self.folder / "console.log", signal.SIGKILL, self._user)
        self.tls_port = 0
        try:
            first_start(lambda: self._start_anew(config, tls, verify_peer=verify_peer))
        except BaseException:
            self._process.remove()
            raise
        self.how = self._binaries.how

    def _start_anew(self, config: Sequence[str], tls: Tls | None, *, verify_peer: bool) -> None:
        self._configure(config, tls, verify_peer=verify_peer)
        self.start()

    def _configure(self, config: Sequence[str], tls: Tls | None, *, verify_peer: bool) -> None:
        self.port, management, distribution, epmd = (free_port() for _ in range(4))
        lines = [*config, *([] if tls is None else self._tls_lines(tls, verify_peer=verify_peer))]
        schedulers = "+S 2:2"
        if self._shared is not None:
            epmd, schedulers = self._shared.epmd_port, "+S 1:1"
            lines += self._join(self._shared)
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self.port}/", management=f"http://127.0.0.1:{management}")
        lines += [
            f"listeners.tcp.1 = 127.0.0.1:{self.port}",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {management}",
            "management_agent.disable_metrics_collector = true",
            "raft.wal_max_size_bytes = 67108864",
        ]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "env.conf").write_text("")  # else the machine's own one is read
        self._user.own(self.folder / "rabbitmq.conf", self.folder / "enabled_plugins", self.folder / "env.conf")
        self._env = environment(
            ("RABBITMQ_", "ERL_", "ELIXIR_"),
            PATH=self._binaries.path,
            HOME=str(self.folder),  # the cookie
            LC_ALL="C.UTF-8",
            ERL_CRASH_DUMP="/dev/null",
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=str(epmd),
            RABBITMQ_NODENAME=self.name,
            RABBITMQ_DIST_PORT=str(distribution),
            RABBITMQ_MNESIA_BASE=str(self.folder / "data"),
            RABBITMQ_LOG_BASE=str(self.folder),
            RABBITMQ_LOGS=str(self.log),
            RABBITMQ_CONFIG_FILE=str(self.folder / "rabbitmq.conf"),
            RABBITMQ_CONF_ENV_FILE=str(self.folder / "env.conf"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "enabled_plugins"),
            RABBITMQ_PID_FILE=str(self.folder / "pid"),
            # Few schedulers that do not spin while idle: the machine is shared with the relay and Postgres.
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=f"{schedulers} +sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        )

    def _join(self, shared: Shared) -> list[str]:
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(0o400)
            cookie.write_text(shared.cookie)
            self._user.own(cookie)
        nodes = (f"cluster_formation.classic_config.nodes.{n} = {name}" for n, name in enumerate(shared.names, 1))
        return ["cluster_formation.peer_discovery_backend = classic_config", *nodes]

    def _tls_lines(self, tls: Tls, *, verify_peer: bool) -> list[str]:
        self.tls_port = free_port()
        lines = [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}"]
        for name, source in (("cacertfile", tls.ca), ("certfile", tls.cert), ("keyfile", tls.key)):
            copy = self.folder / name
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            self._user.own(copy)
            lines.append(f"ssl_options.{name} = {copy}")
        verify = "verify_peer" if verify_peer else "verify_none"
        asked = str(verify_peer).lower()
        return [*lines, f"ssl_options.verify = {verify}", f"ssl_options.fail_if_no_peer_cert = {asked}"]

    def tls_url(self, vhost: str = "/", user: str = "guest", password: str = "guest", host: str = "localhost") -> str:
        """The amqps URL of the node."""
        plain = self.url(vhost, user, password)
        return "amqps" + plain.removeprefix("amqp").replace(f"@127.0.0.1:{self.port}", f"@{host}:{self.tls_port}")

    def start(self) -> None:
        """Start it on its data and ports; returns when it takes AMQP connections and manages vhosts."""
        self._process.start([str(self._binaries.scripts / "rabbitmq-server")], self._env)
        self._process.wait_ready(self._answers)

    def _answers(self) -> bool:
        return answers_amqp("127.0.0.1", self.port) and self.manages()

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._process.running

    def ctl(self, *args: str) -> str:
        """`rabbitmqctl` against this node (a second or two); what it printed.

        Raises ServerFailed when it refuses, or when the node does not run: rabbitmqctl would start an epmd of its own.
        """
        if not self.running:
            raise ServerFailed("rabbitmqctl needs a running node")
        env = self._env | {"ERL_FLAGS": "-start_epmd false", "RABBITMQ_CTL_ERL_ARGS": "+S 1:1"}
        return self._user.run([str(self._binaries.scripts / "rabbitmqctl"), "--quiet", *args], env=env, cwd=self.folder)

    def alarm(self, *, on: bool) -> None:
        """Raise or clear the memory alarm: publishing connections are blocked while it lasts."""
        self.ctl("set_vm_memory_high_watermark", ALARM_WATERMARK if on else CALM_WATERMARK)

    def remember(self) -> None:
        """Have it write down what was declared: killed soon after, it may have forgotten a binding it had confirmed."""
        self.ctl("eval", REMEMBER)

    def stop(self) -> None:
        """Stop it in order: clients are told CONNECTION_FORCED."""
        self.resume()
        for pid in self._process.members():
            if _command(pid) == "beam.smp":
                os.kill(pid, signal.SIGTERM)
        if not self._process.wait_end(STOP_S):
            self.kill()
            raise ServerFailed(f"RabbitMQ did not stop within {STOP_S} s:\n{self._process.tail()}")
        self._process.end()

    def kill(self) -> None:
        """SIGKILL every process of it."""
        self._process.signal_all(signal.SIGKILL)
        self._process.end()

    def restart(self) -> None:
        """Stop it in order and start it."""
        self.stop()
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


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
