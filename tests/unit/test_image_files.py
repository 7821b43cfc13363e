"""What the Dockerfile and .dockerignore promise, read from the files themselves."""

import json
import re

import pytest

import relay
from relay.settings import reference
from tests.dockerfile import ROOT, instructions, last, stages


def test_both_stages_stand_on_one_base_with_one_python() -> None:
    bases = [stage[0][1].split()[0] for stage in stages()]

    assert bases == ["${BASE}", "${BASE}"]
    assert instructions()[0] == ("ARG", "BASE=python:3.13-slim-trixie")
    assert "Programming Language :: Python :: 3.13" in (ROOT / "pyproject.toml").read_text()


def test_the_image_takes_the_virtual_environment_and_nothing_else() -> None:
    copies = [rest for word, rest in stages()[-1] if word in {"COPY", "ADD"}]

    assert copies == ["--from=builder /opt/relay /opt/relay"]
    assert "RUN" not in {word for word, _ in stages()[-1]}


def test_what_is_installed_is_held_by_hashes() -> None:
    installs = [
        part
        for word, rest in stages()[0]
        if word == "RUN"
        for part in rest.split("&&")
        if re.search(r"\b(pip|uv pip) install\b", part)
    ]
    held = re.compile(r"--require-hashes|--verify-hashes --constraint requirements-dev.txt|--no-deps dist/\*\.whl")

    assert len(installs) == 4
    assert [part for part in installs if not held.search(part)] == []


def test_the_user_is_a_number_above_those_of_the_system() -> None:
    assert last("USER") == "10001:10001"


def test_the_relay_is_the_first_process_and_gets_the_signals() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["relay"]
    assert json.loads(last("CMD")) == ["run"]
    assert last("STOPSIGNAL") == "SIGTERM"


def test_the_image_asks_its_own_health_without_another_program() -> None:
    options, _, command = last("HEALTHCHECK").partition("CMD ")

    assert json.loads(command) == ["relay", "healthcheck"]
    assert {"--interval", "--timeout", "--start-period", "--retries"} == set(re.findall(r"--[a-z-]+", options))


def test_python_writes_no_bytecode_and_holds_no_output_back() -> None:
    environment = last("ENV")

    assert "PYTHONUNBUFFERED=1" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert "UV_COMPILE_BYTECODE=1" in " ".join(rest for word, rest in stages()[0] if word == "ENV")


def test_the_labels_tell_version_revision_and_licence() -> None:
    labels = dict(re.findall(r'(org\.opencontainers\.image\.[a-z.]+)="([^"]*)"', last("LABEL")))

    assert {"title", "description", "licenses", "version", "revision", "base.name"} == {
        name.removeprefix("org.opencontainers.image.") for name in labels
    }
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.opencontainers.image.revision"] == "${REVISION}"
    assert ("ARG", f"VERSION={relay.__version__}") in stages()[-1]


def test_the_port_is_the_one_of_the_pages() -> None:
    [port] = [entry.default for entry in reference() if entry.name == "RELAY_HTTP_PORT"]

    assert port == last("EXPOSE")


def test_the_build_sees_what_it_copies_and_nothing_by_accident() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = [source for word, rest in stages()[0] if word == "COPY" for source in rest.split()[:-1]]

    assert rules[0] == "*"
    assert sorted(f"!{source}" for source in copied) == sorted(rule for rule in rules if rule.startswith("!"))
    assert [rule for rule in rules[1:] if re.search(r"!.*(\.env|\.git|\.venv|\*)", rule)] == []
    assert {"**/.env*", "**/__pycache__"} <= set(rules[-3:])


def test_git_does_not_keep_the_filled_in_env() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore", "compose.yaml", ".env.example"])
def test_no_file_of_the_image_names_a_package_index(name: str) -> None:
    assert re.search(r"https?://|index-url|pypi", (ROOT / name).read_text()) is None
