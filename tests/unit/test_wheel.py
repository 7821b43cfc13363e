"""What the wheel carries: all that the installed relay runs, and nothing else."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import relay

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build the wheel as the image does, with the hatchling of this environment and no index."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return zipfile.Path(path)


def names(wheel: zipfile.Path) -> set[str]:
    return {name for name in wheel.root.namelist() if not name.endswith("/")}


def test_every_module_query_style_sheet_and_type_marker_is_in_the_wheel(wheel: zipfile.Path) -> None:
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "relay").rglob("*")
        if path.is_file() and path.suffix in {".py", ".sql", ".css", ".typed"}
    }

    assert {name for name in names(wheel) if name.startswith("relay/") and "/migrations/" not in name} == there
    assert "relay/py.typed" in there
    assert "relay/queries/claim.sql" in there


def test_every_migration_is_in_the_wheel_word_for_word(wheel: zipfile.Path) -> None:
    migrations = {path.name: path.read_bytes() for path in (ROOT / "sql" / "migrations").iterdir()}
    folder = wheel / "relay" / "migrations"

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == migrations
    assert any(name.endswith(".up.sql") for name in migrations)


def test_nothing_of_the_workshop_is_in_the_wheel(wheel: zipfile.Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}

    assert tops == {"relay", f"outbox_relay-{relay.__version__}.dist-info"}
    assert [name for name in names(wheel) if "__pycache__" in name] == []


def test_the_wheel_gives_the_command_the_version_and_the_licence(wheel: zipfile.Path) -> None:
    about = wheel / f"outbox_relay-{relay.__version__}.dist-info"
    metadata = Parser().parsestr((about / "METADATA").read_text())

    assert (metadata["Name"], metadata["Version"]) == ("outbox-relay", relay.__version__)
    assert metadata["License-Expression"] == "MIT"
    assert (about / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "relay = relay.__main__:main" in (about / "entry_points.txt").read_text()
