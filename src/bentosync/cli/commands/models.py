"""`bentosync models …`: the names, options and result lines of `bentoml models`, over the same code."""

from __future__ import annotations

import click

from bentosync.cli.group import Lazy, LazyGroup

_COMMANDS = "bentosync.cli.commands"

TABLE = {
    "list": Lazy(f"{_COMMANDS}.list:bentoml_list", "List models of the local store (BentoML's table)."),
    "get": Lazy(f"{_COMMANDS}.get:bentoml_get", "Print a model's details."),
    "delete": Lazy(f"{_COMMANDS}.delete:bentoml_delete", "Delete models from the local store (BentoML's options)."),
    "export": Lazy(f"{_COMMANDS}.export_model:bentoml_export", "Export a model to an archive (BentoML's options)."),
    "import": Lazy(f"{_COMMANDS}.import_model:bentoml_import", "Import a model from an archive (BentoML's options)."),
    "push": Lazy(f"{_COMMANDS}.push:bentoml_push", "Send a model to a remote (BentoML's options)."),
    "pull": Lazy(f"{_COMMANDS}.pull:bentoml_pull", "Fetch a model, or those of a bentofile (BentoML's options)."),
}


@click.group(cls=LazyGroup, table=TABLE)
def models() -> None:
    """The same commands with BentoML's options and output."""
