"""Which packages a machine lacks: a Docker engine stands in for servers, never for tools."""

import re
import shutil
from pathlib import Path

import pytest

from services import install
from services.find import DATABASE_VARIABLE


def test_a_docker_engine_stands_in_for_servers_and_not_for_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "engine", lambda: True)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert install.missing(("pgbouncer", "prometheus", "chromium")) == ["prometheus", "chromium"]


def test_what_is_there_is_not_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "engine", lambda: False)
    monkeypatch.setattr(install, "has_binaries", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda command: None if command == "promtool" else f"/usr/bin/{command}")
    assert install.missing(("pgbouncer", *install.TOOLS)) == ["prometheus"]


def test_tools_that_cannot_be_installed_are_named_and_no_server_is_offered_instead(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "engine", lambda: True)
    monkeypatch.setattr(install, "root_prefix", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert install.main(("prometheus",)) == 1
    said = capsys.readouterr().err
    assert "apt-get install prometheus)." in said
    assert DATABASE_VARIABLE not in said


def test_a_package_that_two_things_ask_for_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "engine", lambda: False)
    monkeypatch.setattr(install, "has_binaries", lambda _: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert install.missing(("postgresql", "npm")) == ["postgresql", "rabbitmq-server", "npm"]


def test_what_the_makefile_asks_for_is_known_and_nothing_else() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    asked = {name for line in re.findall(r"EXTRAS := (.+)$", makefile, re.MULTILINE) for name in line.split()}
    assert asked == {*install.EXTRAS, *install.TOOLS}
