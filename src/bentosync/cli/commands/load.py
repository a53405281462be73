"""`bentosync load`: load a model's tensors once, and say how fast it went and what bound it."""

from __future__ import annotations

from dataclasses import asdict

import click

from bentosync.cli.options import Command, complete_models
from bentosync.cli.progress.choose import view_for
from bentosync.cli.session import Session, pass_session
from bentosync.tag import parse_reference


@click.command(cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.option("--device", default="cuda", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--verify", type=click.Choice(["off", "auto", "full", "strong"]), default="auto", show_default=True,
              help="How the bytes are checked while they are read.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Fail instead of falling back to the CPU.")
@pass_session
def load(session: Session, model: str, device: str, verify: str, strict: bool) -> None:
    """Load a model's tensors once and report how fast it went."""
    ref = model if parse_reference(model).pin else session.store.get(model)  # a typo need not wait for torch

    from bentosync.loader.load import load_to_device

    view = view_for(session)
    try:
        tensors = load_to_device(ref, device, verify=verify, strict=strict, on_event=view, settings=session.settings)
    finally:
        view.close()
    if session.json:
        session.document(asdict(tensors.report))
    else:
        session.result(str(tensors.report))
