"""`bentosync list`, and `bentosync models list` in BentoML's shapes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from bentosync.cli import table
from bentosync.cli.options import BentomlCommand, TwoSided, complete_models
from bentosync.cli.session import Session, pass_session

if TYPE_CHECKING:
    from bentosync.sync.heads import Head

HEADER = ("Tag", "Module", "Size", "Creation Time")


@click.command("list", cls=TwoSided)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_models)
@click.option("--label", "labels", metavar="KEY[=VALUE]", multiple=True,
              help="Only models with this label; several of them must all hold.")  # fmt: skip
@pass_session
def list_models(session: Session, name: str | None, labels: tuple[str, ...]) -> None:
    """List the models of the local store or of a remote.

    Those of a remote with --remote [NAME|URL]. Newest first. With -q only the tags; --json adds the size in bytes,
    the digest, the labels and ISO times, and for a remote who pushed what and when.
    """
    from bentosync.cli.listing import digest_of, labelled, remote_document, remote_row, rows

    if session.elsewhere:
        heads = [head for head in _on_remote(session, name) if labelled(dict(head.card.labels), labels)]
        if session.json:
            session.document([remote_document(head) for head in heads])
            return
        found = [remote_row(head) for head in heads]
    else:
        found = [row for row in rows(session.store, name) if labelled(row.labels, labels)]
    if session.json:
        session.document([row.document(digest_of(session.store, row.tag)) for row in found])
    elif session.quiet:
        for row in found:
            session.result(row.tag)
    else:
        session.result("\n".join(table.lines(HEADER, [row.cells() for row in found])))


def _on_remote(session: Session, name: str | None) -> list[Head]:
    """What a remote has, newest first."""
    from bentosync import aio
    from bentosync.cli.operation import quietly

    found = quietly(session, lambda view: aio.list_remote(name, settings=session.settings, on_event=view))
    return sorted(found, key=lambda head: (head.created, head.tag), reverse=True)


@click.command("list", cls=BentomlCommand)
@click.argument("model_name", required=False, shell_complete=complete_models)
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), default="table", show_default=True)
@pass_session
def bentoml_list(session: Session, model_name: str | None, output: str) -> None:
    """List models of the local store (BentoML's table)."""
    from bentosync.cli.listing import rows

    found = rows(session.store, model_name)
    documents = [row.bentoml_document() for row in found]
    if session.json or output == "json":
        session.result(json.dumps(documents, indent=2, ensure_ascii=False))
    elif output == "yaml":
        import yaml

        session.result(yaml.safe_dump(documents, indent=2, allow_unicode=True))
    else:
        session.result("\n".join(table.lines(HEADER, [row.cells() for row in found])))
