"""`bentosync get`, and `bentosync models get` with BentoML's shapes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bentosync.cli import table
from bentosync.cli.options import BentomlCommand, Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.formats.model_yaml import ModelInfo
from bentosync.tag import LATEST, Tag


@click.command(cls=Command)
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json", "path", "url", "tensors"]),
    default="yaml",
    show_default=True,
    help="tensors: name, type, shape, bytes and file of each, read from the headers alone. "
    "url: where its files lie on the remote.",
)
@pass_session
def get(session: Session, model: str, output: str) -> None:
    """Show one model of the local store.

    With -o url the folder of its plain files on a remote, for whatever reads a bucket by itself:
    aws s3 sync "$(bentosync get m -o url)" . A name without version then means the remote's latest.
    """
    if output == "url":
        session.result(_url(session, model))
        return
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


@click.command("get", cls=BentomlCommand)
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


def _url(session: Session, model: str) -> str:
    """The URL of the folder that a version's manifest names; ends with a slash."""
    from bentosync import aio
    from bentosync.cli.operation import quietly

    tag = Tag.from_str(model)
    wanted = tag if tag.version is not None else Tag(tag.name, LATEST)
    (head,) = quietly(session, lambda view: aio.list_remote(wanted, settings=session.settings, on_event=view))
    return f"{session.chosen_remote().url.rstrip('/')}/{head.prefix}"


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
