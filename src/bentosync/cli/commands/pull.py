"""`bentosync pull`, and `bentosync models pull` with BentoML's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
from msgspec.structs import asdict

from bentosync.cli import amounts
from bentosync.cli.operation import each, quietly, report, summary, up_to_date, watched
from bentosync.cli.options import BentomlCommand, Command, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.cli.tuning import stats_file, transfer_options
from bentosync.errors import InvalidArgument

PULLED = 'Successfully pulled model "{tag}"'
Verify = Literal["auto", "full", "strong"]
BENTO_FILES = ("bentofile.yaml", "pyproject.toml")


@click.command(cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Replace other content under the same tag in the local store.")
@click.option("--verify", type=click.Choice(["auto", "full", "strong"]), default="auto", show_default=True,
              help="strong: check BLAKE3 too; a pin (MODEL@b3:…) does so anyway.")  # fmt: skip
@click.option(
    "--to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also put the files into this folder, sharing blocks with the store where the file system can.",
)
@click.option("--include", metavar="GLOB", multiple=True, help="Only files that match; *.json means sub-folders too.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not the files that match.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and do nothing.")
@transfer_options
@pass_session
def pull(
    session: Session,
    models: tuple[str, ...],
    force: bool,
    verify: Verify,
    to: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Fetch models from a remote into the local store.

    Without a version the remote's latest is meant. A pull that was cut off goes on where it stopped; what is here
    already is not fetched again. With -q the only output is the path: vllm serve "$(bentosync pull -q llama3-8b)"
    A version of which only some files were fetched is not in the store's list; pulling it whole fetches the rest.
    """
    if dry_run:
        each(session, models, lambda model: _plan(session, model, include=include, exclude=exclude, force=force))
        return
    if to is None and not include and not exclude:
        with stats_file(session, "pull", models[0]):
            each(session, models, lambda model: pull_one(session, model, force=force, verify=verify))
        return
    if to is not None and len(models) > 1:
        raise InvalidArgument("--to takes one model, or their files would mix", hint="one command for each")

    def fetch(model: str) -> dict[str, Any]:
        return _check_out(session, model, to=to, include=include, exclude=exclude, force=force, verify=verify)

    with stats_file(session, "pull", models[0]):
        each(session, models, fetch)


@click.command("pull", cls=BentomlCommand)
@click.argument("model_tag", required=False, shell_complete=complete_models)
@click.option("-f", "--force", is_flag=True, help="Force pull even if the model exists in the local store.")
@click.option(
    "-F",
    "--bentofile",
    type=click.Path(path_type=Path),
    help="Bentofile, or bento.yaml of a Bento, whose models are pulled.",
)
@pass_session
def bentoml_pull(session: Session, model_tag: str | None, force: bool, bentofile: Path | None) -> None:
    """Fetch a model, or those of a bentofile (BentoML's options)."""
    if model_tag is not None and bentofile is not None:
        session.say(f"{bentofile} is not read, because a model is named")
    targets = [model_tag] if model_tag is not None else models_of_bentofile(bentofile)
    each(session, targets, lambda model: pull_one(session, model, force=force, verify="auto"))


def pull_one(session: Session, model: str, *, force: bool, verify: Verify) -> dict[str, Any]:
    """Pull `model` and print its result; returns the report for `--json`."""
    from bentosync import aio

    pulled, end = watched(
        session,
        lambda view: aio.pull(model, force=force, verify=verify, settings=session.settings, on_event=view),
    )
    if session.json:
        return report(end, path=str(pulled.path))
    if session.quiet:
        session.result(str(pulled.path))
    elif end.outcome == "up-to-date":
        session.result(up_to_date(end))
    else:
        session.result(PULLED.format(tag=end.tag))
        session.say(summary(end))
    return {}


def _plan(session: Session, model: str, **how: Any) -> dict[str, Any]:
    from bentosync import aio
    from bentosync.cli.planning import show

    return show(
        session, quietly(session, lambda view: aio.plan_pull(model, settings=session.settings, on_event=view, **how))
    )


def _check_out(session: Session, model: str, **how: Any) -> dict[str, Any]:
    """Pull some files, or to a folder, and print the result; returns the report for `--json`."""
    from bentosync import aio

    out, end = watched(session, lambda view: aio.checkout(model, settings=session.settings, on_event=view, **how))
    if session.json:
        copied = None if out.copied is None else asdict(out.copied)
        return report(end, path=str(out.path), complete=out.complete, copied=copied)
    if session.quiet:
        session.result(str(out.path))
        return {}
    if out.complete:
        session.result(PULLED.format(tag=end.tag) if end.outcome == "done" else up_to_date(end))
    else:
        session.result(f"Pulled {amounts.plural(end.files, 'file')} of {end.tag} to {out.path}")
        session.say(f"  the rest: bentosync pull {end.tag}")
    session.say(summary(end))
    if out.copied is not None:
        here = f"copied {amounts.brief(out.copied.copied_bytes)}, shared {amounts.brief(out.copied.shared_bytes)}"
        session.say(f"  {out.path}: {here}, there already {amounts.brief(out.copied.present_bytes)}")
    return {}


def models_of_bentofile(path: Path | None) -> list[str]:
    """The tags under `models:` of a bentofile, under `[tool.bentoml.build]` of a pyproject, or in a Bento's bento.yaml.

    Raises:
        InvalidArgument: There is no such file, it cannot be read, or it names no model.
    """
    candidates = [path] if path is not None else [Path(name) for name in BENTO_FILES if Path(name).is_file()]
    if not candidates:
        raise InvalidArgument(
            "no bentofile.yaml or pyproject.toml here, so there is no list of models",
            hint="name a model, or --bentofile",
        )
    chosen = candidates[0]
    entries = _models_section(chosen)
    tags = [
        entry if isinstance(entry, str) else entry.get("tag")
        for entry in entries
        # BentoML keeps models of Hugging Face elsewhere.
        if isinstance(entry, str) or (isinstance(entry, dict) and entry.get("registry") != "huggingface")
    ]
    if not tags or not all(isinstance(tag, str) and tag for tag in tags):
        raise InvalidArgument(f"{chosen}: no model to pull", hint="name a model, or add models: to the bentofile")
    return list(dict.fromkeys(map(str, tags)))


def _models_section(path: Path) -> list[Any]:
    try:
        data = path.read_bytes()
        if path.suffix == ".toml":
            import tomllib

            section = tomllib.loads(data.decode()).get("tool", {}).get("bentoml", {}).get("build", {})
        else:
            import yaml

            section = yaml.safe_load(data)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from None
    except Exception as error:
        raise InvalidArgument(f"{path}: cannot be parsed: {error}") from None
    if not isinstance(section, dict):
        return []
    services = section.get("services")
    parts = (
        [section, *(part for part in services if isinstance(part, dict))] if isinstance(services, list) else [section]
    )
    lists = [models for part in parts if isinstance(models := part.get("models"), list)]
    return [model for models in lists for model in models]
