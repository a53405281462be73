"""Every import contract of pyproject.toml bites: a fault is planted in a copy, and the linter must name it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The copy must be linted, not the installed package, which an editable install would find first.
LINT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
sys.path.insert(0, "src")
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    shutil.copytree(ROOT / "src" / "bentosync", copy / "src" / "bentosync", ignore=shutil.ignore_patterns("*.so"))
    return copy


def lint(copy: Path) -> tuple[int, list[str]]:
    """Exit status of the linter, and the names of the contracts it found broken."""
    done = subprocess.run([sys.executable, "-c", LINT], cwd=copy, capture_output=True, text=True, check=False)
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return done.returncode, [line.split(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line]


def test_the_package_as_it_is_breaks_no_contract(copy: Path) -> None:
    assert lint(copy) == (0, [])


@pytest.mark.parametrize(
    ("contract", "place", "fault"),
    [
        ("Imports go down the layers only", "events.py", "import bentosync.wire.exchange"),
        ("Imports go down the layers only", "errors.py", "def late():\n    import bentosync.store"),
        (
            "Imports go down the layers only",
            "tag.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bentosync.events",
        ),
        ("Imports go down the layers only", "nowhere.py", "homeless = True"),
        ("Imports go down the layers only", "exchange/planted.py", "def late():\n    import bentosync.sync.pull"),
        ("Nobody inside goes through the front door", "cli/planted.py", "import bentosync"),
        ("torch only in loader.device", "loader/planted.py", "import torch.cuda"),
        ("aiohttp only in wire and hub", "remote/planted.py", "from aiohttp import web"),
        ("botocore only in remote.s3", "wire/planted.py", "import botocore.auth"),
        ("botocore only in remote.s3", "remote/s3/planted.py", "import boto3"),
        ("fsspec and its file systems only in exchange.external", "exchange/planted.py", "import fsspec.asyn"),
        ("bentoml only in service", "integrations/planted.py", "def late():\n    import bentoml.models"),
        ("pytest only in testing", "cli/planted.py", "import pytest"),
        ("click and tqdm only in cli", "sync/planted.py", "import click"),
        ("click and tqdm only in cli", "transfer/planted.py", "from tqdm.auto import tqdm"),
    ],
)
def test_a_planted_fault_breaks_exactly_its_contract(copy: Path, contract: str, place: str, fault: str) -> None:
    planted = copy / "src" / "bentosync" / place
    before = planted.read_text() if planted.exists() else None
    planted.write_text(f"{before or ''}\n{fault}\n")
    try:
        assert lint(copy) == (1, [contract])
    finally:
        if before is None:
            planted.unlink()
        else:
            planted.write_text(before)
