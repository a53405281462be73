"""`bentosync list`, and `bentosync models list` in BentoML's shapes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from bentosync.cli import table
from bentosync.cli.options import BentomlCommand, TwoSided, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.errors import NotFound

if TYPE_CHECKING:
    from bentosync.cli.listing import Row
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
    the digest, the labels and ISO times, and for a remote who pushed what and when. A version of which only a part is
    here is marked, and left out by -q: pulling it fetches the rest.
    """
    from bentosync.cli.listing import labelled, remote_document, remote_row

    if session.elsewhere:
        heads = [head for head in _on_remote(session, name) if labelled(dict(head.card.labels), labels)]
        if session.json:
            session.document([remote_document(head) for head in heads])
            return
        found = [remote_row(head) for head in heads]
    else:
        found = [row for row in _in_store(session, name) if labelled(row.labels, labels)]
    if session.json:
        session.document([_document(session, row) for row in found])
    elif session.quiet:
        for row in found:
            if row.partial is None:
                session.result(row.tag)
    elif any(row.partial for row in found):
        session.result("\n".join(table.lines((*HEADER, "State"), [(*row.cells(), row.state) for row in found])))
    else:
        session.result("\n".join(table.lines(HEADER, [row.cells() for row in found])))


def _in_store(session: Session, name: str | None) -> list[Row]:
    """The versions of the store, and those of which a part is here; newest first."""
    from bentosync.cli.listing import partial_rows, rows

    partial = partial_rows(session.store, name)
    try:
        whole = rows(session.store, name)
    except NotFound:
        if not partial:
            raise
        whole = []
    return sorted([*whole, *partial], key=lambda row: row.created, reverse=True)


def _document(session: Session, row: Row) -> dict[str, Any]:
    from bentosync.cli.listing import digest_of

    return row.document(f"b3:{row.partial.digest}" if row.partial else digest_of(session.store, row.tag))


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
