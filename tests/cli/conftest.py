"""An environment of its own for every test of the command line: store, config, working directory, one file remote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bentosync.cli.main import root
from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store

KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True)
class World:
    """Where a test's command line lives."""

    base: Path
    environ: dict[str, str]

    @property
    def store(self) -> Store:
        return Store(self.base / "bentoml")

    @property
    def remote(self) -> Path:
        return self.base / "remote"

    def configure(self, text: str) -> None:
        path = self.base / "config/bentosync/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def model(self, name: str = "m:v1", *, size_bytes: int = 1 << 20, shards: int = 1, seed: int = 0) -> str:
        with self.store.create(name, labels={"stage": "dev"}) as model:
            write_model(Path(model.path), size_bytes=size_bytes, shards=shards, seed=seed)
        return str(model.tag)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in [name for name in os.environ if name not in KEPT]:
        monkeypatch.delenv(name)
    environ = {
        "HOME": str(tmp_path / "user"),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "COLUMNS": "80",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for folder in ("user", "remote", "cwd"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    world = World(tmp_path, environ)
    world.configure(f'[remote.nas]\nurl = "file://{world.remote}"\n')
    return world


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(world: World) -> Invoke:
    """Run the command line in this process; `stdout`, `stderr` and `exit_code` of the result are the process's."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(root, list(arguments), input=input)

    return run


Spawn = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bentosync", *arguments]


@pytest.fixture
def spawn(world: World) -> Spawn:
    """Run the command line as a process of its own."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, timeout=60, env={**os.environ, **more}, check=False
        )

    return run
