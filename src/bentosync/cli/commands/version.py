"""`bentosync version`."""

from __future__ import annotations

from importlib import metadata

import click

from bentosync.cli.options import Command
from bentosync.cli.session import Session, pass_session


@click.command(cls=Command, needs_settings=False)
@pass_session
def version(session: Session) -> None:
    """Print the version."""
    number = metadata.version("bentosync")
    if session.json:
        session.document({"version": number})
    else:
        session.result(number if session.quiet else f"bentosync {number}")
