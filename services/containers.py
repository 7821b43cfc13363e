"""Postgres and RabbitMQ as containers, where a Docker engine answers; removed with us, even if we are killed (ryuk)."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from typing import Protocol, cast
from urllib.parse import urlsplit

import docker  # type: ignore[import-untyped]  # it has no types
import psycopg
from docker.errors import DockerException  # type: ignore[import-untyped]  # it has no types
from testcontainers.core.container import DockerContainer

from services.broker import Broker, answers_amqp
from services.postgres import Mode, PostgresServer
from services.process import POLL_S, READY_S, ServerFailed, free_port
from services.rabbitmq import ALARM_WATERMARK, CALM_WATERMARK, REMEMBER

POSTGRES_IMAGE = "postgres:17"
RABBITMQ_IMAGE = "rabbitmq:4-management"
PROBE_S = 2
STOP_S = 60.0
_SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}


class _Handle(Protocol):
    """What we use of the Docker client's container; the library has no types."""

    status: str

    def start(self) -> None: ...
    def kill(self, signal: str = "SIGKILL") -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    def reload(self) -> None: ...
    def logs(self, *, tail: int) -> bytes: ...


def engine_answers() -> bool:
    """Whether there is a Docker engine; a machine without one says so at once."""
    address = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    if address.scheme == "unix" and not _accepts(address.path):
        return False  # the client itself would say the same and leave a socket open
    try:
        client = docker.from_env(timeout=PROBE_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except DockerException:
        return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


class Container:
    """One container with a fixed port on the host, so that it is found again after a restart."""

    def __init__(self, image: str, ports: Mapping[int, int], env: Mapping[str, str], command: str = "") -> None:
        self.container = DockerContainer(image)
        for inside, outside in ports.items():
            self.container.with_bind_ports(inside, outside)
        for name, value in env.items():
            self.container.with_env(name, value)
        if command:
            self.container.with_command(command)
        self.container.start()
        self.host = self.container.get_container_host_ip()
        self.handle = cast("_Handle", self.container.get_wrapped_container())

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Ask until it answers. Raises ServerFailed with the end of its log, and the container is removed."""
        deadline = time.monotonic() + READY_S
        while not ready():
            running = self.running
            if not running or time.monotonic() > deadline:
                log = self.handle.logs(tail=30).decode(errors="replace")
                self.container.stop()
                raise ServerFailed(f"the container {'is silent' if running else 'ended'}; the end of its log:\n{log}")
            time.sleep(POLL_S)

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        self.handle.reload()
        return self.handle.status in {"running", "paused"}

    def execute(self, *argv: str) -> str:
        """Run a command inside; what it printed. Raises ServerFailed."""
        done = self.container.exec(list(argv))
        if done.exit_code != 0:
            raise ServerFailed(f"{argv[0]} exited {done.exit_code}: {done.output.decode(errors='replace')}")
        return done.output.decode()

    def signal(self, name: str) -> None:
        """Signal its first process and wait for its end. Raises ServerFailed; then it is killed."""
        self.resume()
        self.handle.kill(name)
        deadline = time.monotonic() + STOP_S
        while self.running:
            if time.monotonic() > deadline:
                self.handle.kill()
                raise ServerFailed(f"the container did not end within {STOP_S} s of {name}")
            time.sleep(POLL_S)

    def pause(self) -> None:
        """Freeze it."""
        self.handle.pause()

    def resume(self) -> None:
        """Thaw it, if it is frozen."""
        self.handle.reload()
        if self.handle.status == "paused":
            self.handle.unpause()


class ContainerPostgres(PostgresServer):
    """Postgres in a container; as `services.postgres.Postgres`, without its own hba lines and TLS."""

    how = f"a container of {POSTGRES_IMAGE}"

    def __init__(self, *, settings: Mapping[str, str] | None = None) -> None:
        """Start it. Raises ServerFailed or the engine's own error."""
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        options = " ".join(f"-c {name}={value}" for name, value in (settings or {}).items())
        env = {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": self.password, "POSTGRES_DB": "relay"}
        self._container = Container(POSTGRES_IMAGE, {5432: self.port}, env, f"postgres {options}" if options else "")
        super().__init__(f"postgresql://postgres:{self.password}@{self._container.host}:{self.port}/postgres")
        self._container.wait_ready(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._container.running

    def start(self) -> None:
        """Start it on its data and port; returns when it takes connections."""
        self._container.handle.start()
        self._container.wait_ready(self._answers)

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it and wait for its end."""
        self._container.signal(_SIGNALS[mode])

    def kill(self) -> None:
        """SIGKILL every process of it."""
        self._container.signal("SIGKILL")

    def restart(self, mode: Mode = "fast") -> None:
        """Stop it that way and start it."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Freeze it."""
        self._container.pause()

    def resume(self) -> None:
        """Thaw it."""
        self._container.resume()

    def close(self) -> None:
        """Remove the container and its data."""
        self._container.container.stop()


class ContainerRabbitMQ(Broker):
    """RabbitMQ in a container; as `services.rabbitmq.RabbitMQ`, without further configuration and TLS."""

    how = f"a container of {RABBITMQ_IMAGE}"

    def __init__(self) -> None:
        """Start it. Raises ServerFailed or the engine's own error."""
        self.port, management = free_port(), free_port()
        # guest may log in from the container's own loopback only.
        env = {"RABBITMQ_DEFAULT_USER": "relay", "RABBITMQ_DEFAULT_PASS": secrets.token_urlsafe(12)}
        self._container = Container(RABBITMQ_IMAGE, {5672: self.port, 15672: management}, env)
        login = f"{env['RABBITMQ_DEFAULT_USER']}:{env['RABBITMQ_DEFAULT_PASS']}"
        host = self._container.host
        super().__init__(f"amqp://{login}@{host}:{self.port}/", management=f"http://{host}:{management}")
        self._container.wait_ready(self._answers)

    def _answers(self) -> bool:
        return answers_amqp(self.host, self.port) and self.manages()

    @property
    def running(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._container.running

    def ctl(self, *args: str) -> str:
        """`rabbitmqctl` inside the container; what it printed. Raises ServerFailed."""
        return self._container.execute("rabbitmqctl", "--quiet", *args)

    def alarm(self, *, on: bool) -> None:
        """Raise or clear the memory alarm: publishing connections are blocked while it lasts."""
        self.ctl("set_vm_memory_high_watermark", ALARM_WATERMARK if on else CALM_WATERMARK)

    def remember(self) -> None:
        """Have it write down what was declared."""
        self.ctl("eval", REMEMBER)

    def start(self) -> None:
        """Start it on its data and ports; returns when it takes AMQP connections and manages vhosts."""
        self._container.handle.start()
        self._container.wait_ready(self._answers)

    def stop(self) -> None:
        """Stop it in order: clients are told CONNECTION_FORCED."""
        self._container.signal("SIGTERM")

    def kill(self) -> None:
        """SIGKILL every process of it."""
        self._container.signal("SIGKILL")

    def restart(self) -> None:
        """Stop it in order and start it."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it."""
        self._container.pause()

    def resume(self) -> None:
        """Thaw it."""
        self._container.resume()

    def close(self) -> None:
        """Remove the container and its data."""
        self._container.container.stop()
