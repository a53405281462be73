"""`bentosync verify`: are the files still what their manifest says, byte for byte."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from bentosync.cli import amounts
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.errors import IntegrityError


@click.command(cls=Command)
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_models)
@click.option("--full", "strength", flag_value="full", default="full", help="XXH3 of every byte (the default).")
@click.option("--strong", "strength", flag_value="strong", help="BLAKE3 of every byte.")
@pass_session
def verify(session: Session, models: tuple[str, ...], strength: str) -> None:
    """Check the files of models against their digests.

    Without MODEL all models of the store are checked. Damage is listed by file and byte range; exit status 6.
    """
    targets = [session.store.get(model) for model in models] if models else list(session.store.list())
    reports = [_verify_one(session, model, strength) for model in targets]
    damaged = [report["tag"] for report in reports if report["damage"]]
    if session.json:
        session.document(reports)
    if damaged:
        raise IntegrityError(
            f"{amounts.plural(len(damaged), 'model')} of {len(reports)} damaged: {', '.join(damaged)}",
            hint=f"bentosync pull --force {' '.join(damaged)}",
        )


def _verify_one(session: Session, model: Any, strength: str) -> dict[str, Any]:
    began = time.monotonic()
    damage = session.store.check(model, strength=strength)  # type: ignore[arg-type]
    seconds = time.monotonic() - began
    size = model.file_size
    if not session.json:
        for found in damage:
            session.result(f"{model.tag}: {found.path}: bytes {found.begin}..{found.end} {found.kind}")
        if not damage and not session.quiet:
            speed = amounts.rate(size / seconds) if seconds > 0 else ""
            session.result(f"{model.tag}: ok ({amounts.brief(size)}, {amounts.duration(seconds)}, {speed})")
    return {
        "tag": str(model.tag),
        "size_bytes": size,
        "seconds": seconds,
        "strength": strength,
        "damage": [asdict(found) for found in damage],
    }
