"""A RabbitMQ cluster on this machine: nodes with ports of their own, found by an epmd that belongs to all of them."""

import shutil
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex

from services.process import Process, ServerFailed, environment, free_port, make_folder
from services.rabbitmq import RabbitMQ, Shared
from services.rabbitmq_binaries import binaries

NODES = 3


class Cluster:
    """Three nodes, each a broker that is ours to break. Methods block.

    The epmd is held apart from them, so that no node's end takes the others' names away; it ends with us, too.
    """

    def __init__(self, *, config: Sequence[str] = ()) -> None:
        """Start the nodes side by side and wait until all are one cluster. Raises ServerFailed."""
        found = binaries()
        label, epmd_port = token_hex(4), free_port()
        names = tuple(f"relay-{label}-{number}@localhost" for number in range(1, NODES + 1))
        shared = Shared(names, epmd_port, cookie=token_hex(10))
        self.nodes: list[RabbitMQ] = []
        folder = make_folder("relay-epmd", found.user)
        self._epmd = Process(folder, folder / "epmd.log", signal.SIGKILL, found.user)
        try:
            epmd = shutil.which("epmd", path=found.path) or "epmd"
            argv = [epmd, "-address", "127.0.0.1", "-port", str(epmd_port)]
            self._epmd.start(argv, environment(("RABBITMQ_", "ERL_"), PATH=found.path))
            self._epmd.wait_ready(lambda: _listens(epmd_port))
            with ThreadPoolExecutor(NODES) as crew:
                starts = [crew.submit(RabbitMQ, config=config, name=name, shared=shared) for name in names]
            self.nodes += [start.result() for start in starts if start.exception() is None]
            for start in starts:
                start.result()
            self._be_one(names)
        except BaseException:
            self.close()
            raise

    def _be_one(self, names: Sequence[str]) -> None:
        """Make sure that every node runs in the one cluster: each lists those it reaches."""
        running = self.running()
        if running != set(names):
            raise ServerFailed(f"not one cluster: {sorted(running)} of {sorted(names)}")

    def running(self) -> set[str]:
        """The names of the nodes that run and reach each other, as any living node sees it."""
        nodes = self._living().api("GET", "/api/nodes")
        assert isinstance(nodes, list)
        return {node["name"] for node in nodes if node["running"]}

    def _living(self) -> RabbitMQ:
        return next(node for node in self.nodes if node.running)

    def close(self) -> None:
        """End all nodes, then the epmd, and remove their folders."""
        with ThreadPoolExecutor(NODES) as crew:
            list(crew.map(RabbitMQ.close, self.nodes))
        self._epmd.remove()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
