from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import bentosync

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", bentosync.__all__)
def test_every_name_on_the_door_leads_somewhere(name: str) -> None:
    assert getattr(bentosync, name) is not None
    assert name in dir(bentosync)


def test_a_name_that_is_not_on_the_door_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bentosync.nonsense


def test_importing_the_package_imports_nothing_of_it_and_nothing_heavy() -> None:
    script = "import sys, bentosync; print(*(name.partition('.')[0] for name in sys.modules if name != 'bentosync'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"bentosync", "aiohttp", "asyncio", "botocore", "click", "numpy", "safetensors", "torch", "yaml"}
    assert not heavy & set(done.stdout.split())


def test_the_version_is_the_one_of_the_project_file() -> None:
    assert bentosync.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_package_says_that_it_is_typed() -> None:
    assert files("bentosync").joinpath("py.typed").is_file()
