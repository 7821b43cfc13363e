"""The pods of the chart, played on this machine: their own arguments, environment and files, against real servers.

What a cluster would do is done by hand: Secrets become files and variables, a job's containers run one after the other.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import pytest
from psycopg import sql

from services import find
from services.find import OwnPostgres, OwnRabbitMQ
from services.process import free_port
from services.tls import Authority
from tests.builders import Amqp, Database, eventually, fresh_vhost
from tests.deploy import charts
from tests.deploy.charts import Object, least
from tests.running import command, start

ODD = "p@ss/w:rd ?#%41"
"""A password of which each character means something in a URL."""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("RELAY_", "PG", "SSL_"))}


@dataclass(frozen=True)
class Cluster:
    """Its Secrets, and a folder in which each pod's volumes are laid out."""

    folder: Path
    secrets: dict[tuple[str, str], str] = field(default_factory=dict)

    def environment(self, spec: Object, container: Object) -> dict[str, str]:
        """What a container would be told, its files being where they can be read here."""
        env = charts.environment(container, self.secrets)
        for mount in container.get("volumeMounts", ()):
            (volume,) = (each for each in spec["volumes"] if each["name"] == mount["name"])
            if "secret" in volume:
                place = self._lay_out(volume["secret"])
                env = {name: value.replace(f"{mount['mountPath']}/", f"{place}/") for name, value in env.items()}
        return CLEAN | env | {"RELAY_HTTP_HOST": "127.0.0.1", "RELAY_HTTP_PORT": str(free_port())}

    def _lay_out(self, secret: Object) -> Path:
        place = self.folder / str(secret["secretName"])
        place.mkdir(exist_ok=True)
        for item in secret["items"]:
            self.write(place / item["path"], self.secrets[secret["secretName"], item["key"]])
        return place

    def write(self, file: Path, text: str) -> None:
        """Replace a file at once, as the kubelet does."""
        new = file.with_suffix(".new")
        new.write_text(text)
        new.rename(file)

    async def finish(self, spec: Object) -> list[str]:
        """Run the containers of a job one after the other; what each printed. Each must end well."""
        said = []
        for container in charts.ours(spec):
            code, out, err = await command(self.environment(spec, container), *container["args"])
            assert code == 0, f"{container['name']}: {out}{err}"
            said.append(out)
        return said


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The one that signed both servers' certificates."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls_postgres(authority: Authority) -> Iterator[OwnPostgres]:
    """A Postgres with a certificate of that authority."""
    server = find.own_postgres(tls=authority.issue("localhost", "127.0.0.1"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def tls_rabbitmq(authority: Authority) -> Iterator[OwnRabbitMQ]:
    """A RabbitMQ with a certificate of that authority."""
    broker = find.own_rabbitmq(tls=authority.issue("localhost"), verify_peer=False)
    yield broker
    broker.close()


@pytest.fixture
async def bare(tls_postgres: OwnPostgres) -> AsyncIterator[Database]:
    """A service's database before the first release: there is no outbox in it."""
    name = f"relay_chart_{token_hex(4)}"
    await asyncio.to_thread(tls_postgres.create_database, name)
    database = Database(tls_postgres.url(name), name)
    yield database
    await database.close()
    await asyncio.to_thread(tls_postgres.drop_database, name)


@pytest.fixture
async def vhost(tls_rabbitmq: OwnRabbitMQ) -> AsyncIterator[Amqp]:
    """A vhost with the exchange and a queue for everything."""
    async with fresh_vhost(tls_rabbitmq) as made:
        await made.queue("all", "shop.events")
        yield made


async def login(db: Database, name: str, role: str, password: str) -> None:
    """Make a login, or give one another password."""
    words = sql.SQL("DO $do$ BEGIN CREATE ROLE {name} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $do$;")
    await db.fetch(words.format(name=sql.Identifier(name)))
    words = sql.SQL("ALTER ROLE {name} PASSWORD {password}; GRANT {role} TO {name}")
    await db.fetch(words.format(name=sql.Identifier(name), password=password, role=sql.Identifier(role)))


def by_name(url: str) -> str:
    """A URL of a server under the name that its certificate is for."""
    return url.replace("127.0.0.1", "localhost")


async def arrived(amqp: Amqp, count: int) -> None:
    """Wait until the queue holds so many."""

    async def counted() -> None:
        assert await amqp.count("all") == count

    await eventually(counted)


@pytest.fixture
def cluster(
    *,
    tls_postgres: OwnPostgres,
    tls_rabbitmq: OwnRabbitMQ,
    authority: Authority,
    bare: Database,
    vhost: Amqp,
    tmp_path: Path,
) -> Cluster:
    """The Secrets of a release, each with a login of its own; the logins are made when the roles are there."""
    logins = [f"{name}_{bare.name}" for name in ("app", "keeper")]
    broker = by_name(vhost.url.replace("amqp:", "amqps:"))
    return Cluster(
        tmp_path,
        {(name.partition("_")[0], "uri"): by_name(tls_postgres.url(bare.name, name, ODD)) for name in logins}
        | {
            ("owner", "uri"): by_name(bare.url),
            ("mq", "connection_string"): broker.replace(f":{tls_rabbitmq.port}/", f":{tls_rabbitmq.tls_port}/"),  # type: ignore[union-attr] # binaries only
            ("authority", "ca.crt"): authority.ca.read_text(),
        },
    )


@pytest.fixture
def release() -> list[Object]:
    """The objects of a release that uses all three logins, and both servers over TLS."""
    ca = {"ca": {"secretName": "authority"}}
    return charts.render(
        least(
            database={"secretName": "app", "tls": {"mode": "verify-full", **ca}},
            amqp={"tls": ca},
            migrations={"database": {"secretName": "owner"}, "optIns": ["doorbell", "ordering"]},
            cleanup={"enabled": True, "olderThan": "1d", "database": {"secretName": "keeper"}},
            settings={"ordering": "key", "outageSleepSeconds": 1},
        )
    )


@pytest.mark.timeout(120)
async def test_a_release_migrates_relays_and_cleans_up_each_with_its_own_login(
    cluster: Cluster, release: list[Object], bare: Database, vhost: Amqp
) -> None:
    assert "applied 1001_ordering" in "".join(await cluster.finish(charts.pod(release, "Job")))
    await cluster.finish(charts.pod(release, "Job"))  # Argo CD runs it at each sync
    await login(bare, f"app_{bare.name}", "outbox_relay", ODD)
    await login(bare, f"keeper_{bare.name}", "outbox_keeper", ODD)
    assert "✗" not in (await cluster.finish(charts.pod(release, "Pod")))[0]

    spec = charts.pod(release, "Deployment")
    process = await start(cluster.environment(spec, spec["containers"][0]))
    try:
        await bare.insert(n=3, key="a")
        await arrived(vhost, 3)
        assert [(await process.get(path))[0] for path in ("/livez", "/readyz")] == [200, 200]
        await _rotate(cluster, bare)
        await bare.insert(n=2, key="a")
        await arrived(vhost, 5)
        assert await process.stop() == 0
    finally:
        await process.close()
    assert process.seen("outage.began", side="database")

    await bare.fetch("UPDATE {table} SET sent_at = sent_at - interval '2 days' WHERE id <= 3")
    assert await cluster.finish(charts.pod(release, "CronJob")) == ["deleted 3 sent rows\n"]


async def _rotate(cluster: Cluster, db: Database) -> None:
    """Change the relay's password and its Secret, and end its sessions."""
    relay = f"app_{db.name}"
    await login(db, relay, "outbox_relay", "another")
    await db.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (relay,))
    url = cluster.secrets["app", "uri"].replace(quote(ODD, safe=""), "another")
    assert url != cluster.secrets["app", "uri"]
    cluster.write(cluster.folder / "app" / "url", url)


async def test_any_password_will_do_where_the_url_is_put_together(
    tls_postgres: OwnPostgres, bare: Database, tmp_path: Path
) -> None:
    """Postgres takes user and password beside the URL; nothing in them can be mistaken for a part of it."""
    owner = f"owner {bare.name}"
    await bare.fetch(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}").format(sql.Identifier(owner), ODD))
    cluster = Cluster(
        tmp_path, {("db", "username"): owner, ("db", "password"): ODD, ("db", "port"): str(tls_postgres.port)}
    )
    parts = {"host": "127.0.0.1", "portKey": "port", "name": bare.name}
    made = charts.render(least(database={"urlKey": "", "parts": parts}))
    assert "applied 0001_message\n" in (await cluster.finish(charts.pod(made, "Job")))[0]
