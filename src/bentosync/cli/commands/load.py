"""`bentosync load`: load a model's tensors once, and say how fast it went and what bound it."""

from __future__ import annotations

import click

from bentosync.cli.options import Command, complete_models
from bentosync.cli.progress.choose import view_for
from bentosync.cli.session import Session, pass_session
from bentosync.errors import NotFound
from bentosync.tag import Tag, parse_reference


@click.command(cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.option("--device", default="cuda", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--verify", type=click.Choice(["off", "auto", "full", "strong"]), default="auto", show_default=True,
              help="How the bytes are checked while they are read.")  # fmt: skip
@click.option("--cache", type=click.Choice(["tee", "none", "first"]), default="tee", show_default=True,
              help="What comes from a remote is stored beside the load, not at all, or first.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Fail instead of falling back to the CPU.")
@pass_session
def load(session: Session, model: str, device: str, verify: str, cache: str, strict: bool) -> None:
    """Load a model's tensors once and report how fast it went.

    A model that the store lacks comes from the remote, and is in the store afterwards unless --cache says otherwise.
    """
    _announce(session, model)

    from bentosync.loader.load import load_to_device

    view = view_for(session)
    try:
        tensors = load_to_device(
            model, device, verify=verify, cache=cache, strict=strict, on_event=view, settings=session.settings
        )
        if tensors.report.cache is not None:
            tensors.report.cache.wait()
    finally:
        view.close()
    if session.json:
        session.document(tensors.report.document())
    else:
        session.result(str(tensors.report))


def _announce(session: Session, model: str) -> None:
    """Say where the model comes from if the store lacks it. A typo need not wait for torch."""
    reference = parse_reference(model)
    try:
        session.store.get(Tag(reference.name, reference.version))
    except NotFound:
        settings = session.settings
        if settings.offline or (settings.default_remote is None and len(settings.remotes) != 1):
            raise
        session.say(f"{model} is not in {settings.home}: it comes from {session.chosen_remote().url}")
