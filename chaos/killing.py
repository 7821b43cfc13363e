"""The stage of the kill loop: that of the chaos runner, with relays that come and go and no proxy before them."""

from chaos.replicas import RELAY, Replicas, settings
from chaos.stage import Stage
from demo.processes import Child


class KillStage(Stage):
    """Everything that runs. No relay does until one is started."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lives: list[Child] = []

    async def _start_replicas(self) -> None:
        self.replicas = Replicas(())

    async def start_relay(self, name: str) -> Child:
        """Start `relay run`; each has a log of its own."""
        given = settings(ordered=self.ordered) | {
            "DATABASE_URL": self.relay_url,
            "AMQP_URL": self.amqp_url,
            "HTTP_PORT": 0,
            "NAME": name,
        }
        env = {f"RELAY_{setting}": str(value) for setting, value in given.items()}
        relay = await Child.start(name, (str(RELAY), "run"), env, self._file(f"{name}-{len(self._lives)}"))
        self._lives.append(relay)
        return relay

    async def close(self) -> None:
        """Take everything down, whatever state it is in; the folder with the history stays."""
        for relay in self._lives:
            await relay.kill()
        await super().close()
