"""Prometheus: a private server in a temporary folder, asked through its HTTP API."""

import json
import shutil
import signal
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from services.process import Process, ServerFailed, User, environment, first_start, free_port, make_folder

ANSWER_S = 10.0
Sample = tuple[Mapping[str, str], list[tuple[float, float]]]
"""A series: its labels, and its values by Unix time."""


def binary() -> Path:
    """The program. Raises ServerFailed when the machine has none."""
    found = shutil.which("prometheus")
    if found is None:
        raise ServerFailed("no prometheus on this machine (Debian, Ubuntu: apt-get install prometheus)")
    return Path(found)


class Prometheus:
    """Reads the given targets every second and evaluates the given rules as often; listens on 127.0.0.1 only.

    Methods block; call them through `asyncio.to_thread` where the event loop must turn meanwhile.
    """

    def __init__(self, *, job: str, targets: Mapping[str, Mapping[str, str]], rules: str) -> None:
        """Start it. `targets` are host:port with the labels of each; `rules` is the text of a file of rules.

        Raises ServerFailed, also when there is no binary.
        """
        self._user = User.named("prometheus")
        self.folder = make_folder("relay-prometheus", self._user)
        self._process = Process(self.folder, self.folder / "prometheus.log", signal.SIGKILL, self._user)
        try:
            self._configure(job, targets, rules)
            first_start(self._start_anew)
        except BaseException:
            self._process.remove()
            raise

    def _configure(self, job: str, targets: Mapping[str, Mapping[str, str]], rules: str) -> None:
        (self.folder / "rules.yaml").write_text(rules)
        jobs = [{"targets": [address], "labels": dict(labels)} for address, labels in targets.items()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": job, "static_configs": jobs}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))  # YAML is a superset
        self._user.own(self.folder / "rules.yaml", self.folder / "prometheus.yml")

    def _start_anew(self) -> None:
        self._port = free_port()
        argv = [
            str(binary()),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]
        self._process.start(argv, environment(("PROMETHEUS", "GO")))
        self._process.wait_ready(self._ready)

    def _ready(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str, **words: str) -> bytes:
        # No proxy of the shell's may stand between us and a server of ours.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        query = f"?{urlencode(words)}" if words else ""
        with opener.open(f"http://127.0.0.1:{self._port}{path}{query}", timeout=ANSWER_S) as answer:
            text: bytes = answer.read()
        return text

    def _api(self, path: str, **words: str) -> Any:
        return json.loads(self._get(f"/api/v1/{path}", **words))["data"]

    def now(self, expression: str, *, at: float | None = None) -> list[Sample]:
        """What an expression gives now, or at a Unix time. Raises OSError (HTTPError) for one that is wrong."""
        moment = {} if at is None else {"time": str(at)}
        return [
            (each["metric"], _values([each["value"]]))
            for each in self._api("query", query=expression, **moment)["result"]
        ]

    def over(self, expression: str, *, begin: float, end: float) -> list[Sample]:
        """What an expression gave at every second in between. Raises OSError (HTTPError) for one that is wrong."""
        found = self._api("query_range", query=expression, start=str(begin), end=str(end), step="1")
        return [(each["metric"], _values(each["values"])) for each in found["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health, its last error and the alerts it has."""
        return [rule for group in self._api("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self._api("alerts")["alerts"] if each["state"] == "firing"}

    def close(self) -> None:
        """End it and remove its folder."""
        self._process.remove()


def _values(pairs: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    return [(float(moment), float(value)) for moment, value in pairs]
