"""`bentosync get`, and `bentosync models get` with BentoML's shapes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bentosync.cli import table
from bentosync.cli.options import Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.formats.model_yaml import ModelInfo


@click.command(cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json", "path", "tensors"]),
    default="yaml",
    show_default=True,
    help="tensors: name, type, shape, bytes and file of each, read from the headers alone.",
)
@pass_session
def get(session: Session, model: str, output: str) -> None:
    """Show one model of the local store."""
    found = session.store.get(model)
    session.store.used(found.tag)
    if output == "tensors":
        _show_tensors(session, Path(found.path))
    elif output == "path" or session.quiet:
        session.result(str(found.path))
    elif session.json:
        from bentosync.cli.listing import digest_of, row

        shown = row(found).document(digest_of(session.store, str(found.tag)))
        session.document(
            shown | {"path": str(found.path), "info": json.loads(json.dumps(found.info.to_dict(), default=str))}
        )
    else:
        _show(session, found.info, output)


@click.command("get", cls=Command)
@click.argument("model_tag", shell_complete=complete_models)
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "path"]), default="yaml", show_default=True)
@pass_session
def bentoml_get(session: Session, model_tag: str, output: str) -> None:
    """Print a model's details."""
    found = session.store.get(model_tag)
    session.store.used(found.tag)
    if output == "path":
        session.result(str(found.path))
    else:
        _show(session, found.info, "json" if session.json else output)


def _show(session: Session, info: ModelInfo, output: str) -> None:
    if output == "json":
        session.result(json.dumps(info.to_dict(), indent=2, ensure_ascii=False, default=str))
    else:
        session.result(str(info.dump()))


def _show_tensors(session: Session, folder: Path) -> None:
    from bentosync.formats.safetensors import read_header

    documents = [
        {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "bytes": t.end - t.begin,
         "file": str(file.relative_to(folder)), "offset": header.data_offset + t.begin}
        for file in sorted(folder.rglob("*.safetensors"))
        for header in [read_header(file)]
        for t in header.tensors
    ]  # fmt: skip
    if session.json:
        session.document(documents)
    elif documents:
        rows = [tuple(str(value) for value in document.values()) for document in documents]
        session.result("\n".join(table.lines(("Name", "Type", "Shape", "Bytes", "File", "Offset"), rows)))
    else:
        session.say("This model has no safetensors files.")
