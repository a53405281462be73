"""`bentosync demo`: the whole road with a made-up model, in a temporary folder; nothing of the user's is touched."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from bentosync.cli import amounts
from bentosync.cli.operation import watched
from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session
from bentosync.errors import IntegrityError, InvalidArgument, MissingExtra
from bentosync.settings import RemoteSettings, Settings
from bentosync.settings.keys import Place, size

NAME = "bentosync-demo"
SHARDS = 4
NEXT = "Next: bentosync remote add nas file:///mnt/models && bentosync push <your model>"


@click.command(cls=Command)
@click.option("--size", "size_text", default="64MiB", show_default=True, help="Bytes of the made-up model.")
@pass_session
def demo(session: Session, size_text: str) -> None:
    """Push, pull, verify and load a small made-up model.

    No account, no GPU, no download: a temporary store, a temporary folder as the remote, both removed at the end.
    """
    with tempfile.TemporaryDirectory(prefix="bentosync-demo-") as scratch:
        settings = Settings(
            home=Path(scratch, "bentoml"),
            transfer=session.settings.transfer,
            progress=session.settings.progress,
            native=session.settings.native,
        )
        session.settings = replace(settings, default_remote=None)
        tour = Tour(session, RemoteSettings(url=f"file://{scratch}/remote").url)
        tour.run(_size_bytes(size_text))
    if session.json:
        session.document(tour.steps)
    else:
        session.say(NEXT)


class Tour:
    """The steps, each timed and reported."""

    def __init__(self, session: Session, remote: str) -> None:
        self._session = session
        self._settings = session.settings
        self._remote = remote
        self.steps: list[dict[str, Any]] = []

    def run(self, size_bytes: int) -> None:
        """All of them, in order."""
        from bentosync import aio

        tag = self._create(size_bytes)
        self._moved("push", lambda view: aio.push(tag, **self._common(view)))
        self._session.store.delete(tag)
        self._step("delete", 0, 0.0, "the local copy is gone")
        self._moved("pull", lambda view: aio.pull(tag, **self._common(view)))
        self._verify(tag)
        second = self._moved("pull again", lambda view: aio.pull(tag, **self._common(view)))
        if second != 0:
            raise IntegrityError(f"the second pull moved {second} bytes and should have moved none")
        self._load(tag)

    def _common(self, view: Any) -> dict[str, Any]:
        return {"remote": self._remote, "settings": self._settings, "on_event": view}

    def _create(self, size_bytes: int) -> str:
        from bentosync.cli.synthetic import write_model

        with _stopwatch() as seconds, self._session.store.create(NAME, labels={"made": "up"}) as model:
            write_model(Path(model.path), size_bytes=size_bytes, shards=SHARDS)
        self._step("create", model.file_size, seconds(), f"{model.tag}, {SHARDS} shards of safetensors")
        return str(model.tag)

    def _moved(self, name: str, start: Callable[[Any], Any]) -> int:
        _, end = watched(self._session, start)
        text = (
            "up to date, nothing moved" if end.outcome == "up-to-date" else f"reused {amounts.brief(end.reused_bytes)}"
        )
        self._step(name, end.moved_bytes, end.seconds, text)
        return end.moved_bytes

    def _verify(self, tag: str) -> None:
        model = self._session.store.get(tag)
        with _stopwatch() as seconds:
            damage = self._session.store.check(model, strength="strong")
        if damage:
            raise IntegrityError(f"{tag}: {damage[0].path} is damaged after the pull")
        self._step("verify", model.file_size, seconds(), "every byte, with BLAKE3")

    def _load(self, tag: str) -> None:
        try:
            self._load_with_torch(tag)
        except MissingExtra as error:
            self._step("load", 0, 0.0, f"left out: {error.message} ({error.hint})")

    def _load_with_torch(self, tag: str) -> None:
        model = self._session.store.get(tag)
        from bentosync.loader import device
        from bentosync.loader.load import load_to_device

        where = "cpu" if device.why_no_cuda(device.parse_device("cuda")) else "cuda"
        with _stopwatch() as seconds:
            tensors = load_to_device(model, where, settings=self._settings)
        self._step("load", tensors.report.bytes, seconds(), f"{len(tensors)} tensors on {where}, {tensors.report.path}")

    def _step(self, name: str, moved_bytes: int, seconds: float, text: str) -> None:
        self.steps.append({"step": name, "bytes": moved_bytes, "seconds": seconds, "note": text})
        if not self._session.json:
            self._session.result(f"{name:<12}{amounts.brief(moved_bytes):>9}  {amounts.duration(seconds):>6}   {text}")


def _size_bytes(text: str) -> int:
    try:
        return size(text, Place("--size", Path(), {}))
    except ValueError as error:
        raise InvalidArgument(f"--size: {error}") from None


@contextmanager
def _stopwatch() -> Iterator[Callable[[], float]]:
    began = time.monotonic()
    ended: list[float] = []
    yield lambda: (ended[0] if ended else time.monotonic()) - began
    ended.append(time.monotonic())
