"""The machine of somebody who follows a page: a home, a folder, a bucket, and what earlier pages left there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bentosync import aio
from bentosync.cli.synthetic import write_model
from bentosync.settings import RemoteSettings, Settings
from bentosync.store.store import Store
from bentosync.tag import Tag
from bentosync.testing import S3Server
from tests.docs.page import DOCS, Block

PLAYER = Path(__file__).with_name("player.py")


@dataclass(frozen=True)
class Scene:
    """`folder` holds the user's `home`, the working directory `work` and the `bin` of stand-ins for programs."""

    folder: Path
    server: S3Server

    @classmethod
    def make(cls, folder: Path, server: S3Server) -> Scene:
        """A machine on which bentosync is installed and nothing configured; `docs` lies in the working directory."""
        for name in ("home", "work", "bin", "mnt"):
            (folder / name).mkdir(parents=True)
        (folder / "work/docs").symlink_to(DOCS)
        return cls(folder, server)

    def configure(self, name: str, url: str) -> None:
        """Add a remote to the user's configuration; the first one is the default."""
        path = self.folder / "home/.config/bentosync/config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else f'default_remote = "{name}"\n'
        path.write_text(f'{text}\n[remote.{name}]\nurl = "{self.here(url)}"\n')

    def publish(self, tag: str, url: str, *, seed: int = 1) -> None:
        """Let somebody else push a small model."""
        store = Store(self.folder / "publisher")
        if store.find(Tag.from_str(tag)) is None:
            with store.create(tag, labels={"stage": "dev"}) as model:
                write_model(Path(model.path), size_bytes=1 << 20, shards=1, seed=seed)
        remote = RemoteSettings(self.here(url), name="r", endpoint_url=self.server.endpoint_url)
        asyncio.run(aio.push(tag, settings=Settings(home=store.home, remotes={"r": remote})))

    def save(self, tag: str) -> None:
        """Let the user have saved a small model."""
        with Store(self.folder / "home/bentoml").create(tag) as model:
            write_model(Path(model.path), size_bytes=1 << 20, shards=1)

    def pull(self, *tags: str) -> None:
        """Let the user have pulled these."""
        bentosync = str(Path(sys.executable).with_name("bentosync"))
        subprocess.run([bentosync, "pull", *tags], env=self.environment, check=True, capture_output=True)

    def stand_in(self, name: str, script: str) -> None:
        """A shell script in the place of a program that is not here."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\nset -e\n{script}\n")
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """The addresses that the pages use, as they are on this machine."""
        text = text.replace("https://s3.example.com", self.server.endpoint_url)
        return text.replace("s3://my-models", self.server.url).replace("/mnt/", f"{self.folder}/mnt/")

    @property
    def environment(self) -> dict[str, str]:
        """A user with credentials for the bucket."""
        path = f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {
            "PATH": path, "HOME": str(self.folder / "home"), "LANG": "C.UTF-8",
            "AWS_ENDPOINT_URL": self.server.endpoint_url, "HF_HUB_OFFLINE": "1", "BENTOML_DO_NOT_TRACK": "True",
            "PLAYER_STATE": str(self.folder / "state"), **self.server.environment,
        }  # fmt: skip

    def play(self, page: Path, blocks: list[Block], *, check: str = "") -> None:
        """Play what of a page is run, then the Python of `check`, which sees the names of the page."""
        given = [asdict(block) | {"text": self.here(block.text)} for block in blocks if block.is_run]
        if check:
            given.append(asdict(Block("python", check, 1)))
        done = subprocess.run(
            [sys.executable, str(PLAYER)], input=json.dumps([page.name, given]), cwd=self.folder / "work",
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
