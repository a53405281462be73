"""`bentosync verify`: are the files, here or on a remote, what their manifest says; `--repair`, if they are not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from bentosync.cli import amounts
from bentosync.cli.operation import each, quietly, watched
from bentosync.cli.options import TwoSided, complete_models
from bentosync.cli.session import Session, pass_session
from bentosync.cli.units import Share
from bentosync.errors import IntegrityError, InvalidArgument, InvalidModel, LocalIOError, NotFound
from bentosync.tag import Tag

if TYPE_CHECKING:
    from bentosync.store.proof import Damage, Strength
    from bentosync.sync.inspect import Inspected


@click.command(cls=TwoSided)
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_models)
@click.option("--full", "strength", flag_value="full", default="full", help="XXH3 of every byte (the default).")
@click.option("--strong", "strength", flag_value="strong", help="BLAKE3 of every byte.")
@click.option("--repair", is_flag=True, help="Fetch what is damaged again, from --remote or where it was pulled from.")
@click.option("--sample", "share", type=Share(), metavar="SHARE",
              help="On a remote: read only so much of every file, such as 5%, chosen at random.")  # fmt: skip
@pass_session
def verify(session: Session, models: tuple[str, ...], strength: Strength, repair: bool, share: float | None) -> None:
    """Check the files of models against their digests.

    Without MODEL all models of the store are checked. Damage is listed by file and byte range; exit status 6.
    With --repair only damaged blocks are fetched, the version is built anew beside the damaged one and then takes its
    place, and the exit status is 0 if everything is whole in the end.

    With --remote [NAME|URL], and without --repair, what lies there is read and checked, all of it or a --sample;
    nothing is written.
    """
    if session.elsewhere and not repair:
        _on_remote(session, models, strength, share)
        return
    if share is not None:
        raise InvalidArgument("--sample is for what lies on a remote", hint="bentosync verify --remote --sample 5%")
    targets = [_tag(session, model) for model in models] if models else list(session.store.tags())
    reports = [_Verification(session, tag, strength).run(repair=repair, named=bool(models)) for tag in targets]
    if session.json:
        session.document(reports)
    damaged = [report["tag"] for report in reports if report["damage"] and not report["repaired"]]
    if damaged:
        raise IntegrityError(
            f"{amounts.plural(len(damaged), 'model')} of {len(reports)} damaged: {', '.join(damaged)}",
            hint=f"bentosync verify --repair {' '.join(damaged)}",
        )


def _on_remote(session: Session, models: tuple[str, ...], strength: Strength, share: float | None) -> None:
    from bentosync import aio

    if not models:
        heads = quietly(session, lambda view: aio.list_remote(settings=session.settings, on_event=view))
        models = tuple(str(head.tag) for head in heads)
    damaged: list[str] = []

    def look(model: str) -> dict[str, Any]:
        found, end = watched(
            session,
            lambda view: aio.verify_remote(
                model, share=share, strength=strength, settings=session.settings, on_event=view
            ),
        )
        damage = [asdict(one) for one in found.damage]
        if damage:
            damaged.append(end.tag)
        if not session.json:
            for one in damage:
                session.result(f"{end.tag} on {end.remote}: {_damage(one)}")
            if not damage and not session.quiet:
                session.result(f"{end.tag} on {end.remote}: ok ({_looked_at(found)})")
        return {"tag": end.tag, "remote": end.remote, "digest": end.digest, "strength": strength, "damage": damage,
                "packs": found.packs, "read_bytes": end.moved_bytes, "size_bytes": found.size_bytes,
                "seconds": end.seconds}  # fmt: skip

    each(session, models, look)
    if damaged:
        where = session.chosen_remote().url
        raise IntegrityError(
            f"{amounts.plural(len(damaged), 'model')} of {len(models)} damaged on {where}: {', '.join(damaged)}",
            hint=f"where it is whole: bentosync push --resend {damaged[0]}",
        )


def _looked_at(found: Inspected) -> str:
    end = found.end
    size = amounts.brief(end.moved_bytes)
    if end.moved_bytes < found.size_bytes:
        size = f"{size} of {amounts.brief(found.size_bytes)}, chosen at random"
    return f"{size}, {amounts.duration(end.seconds)}, {amounts.rate(end.moved_bytes / max(end.seconds, 1e-9))}"


def _damage(found: dict[str, Any]) -> str:
    """One damage in words."""
    words = {
        "missing": " is missing",
        "extra": " is not in the manifest",
        "size": " has another size",
        "mode": " has another mode",
        "bytes": f": bytes {found['begin']}..{found['end']} differ",
    }
    return f"{found['path']}{words[found['kind']]}"


def _tag(session: Session, text: str) -> Tag:
    """The version meant; one that is named in full may lack its model.yaml."""
    tag = Tag.from_str(text)
    if tag.version is not None and session.store.layout.version_dir(tag).is_dir():
        return tag
    return session.store.get(text).tag


class _Verification:
    """One version's check, what it says, and its repair."""

    def __init__(self, session: Session, tag: Tag, strength: Strength) -> None:
        self._session = session
        self._tag = tag
        self._strength = strength

    def run(self, *, repair: bool, named: bool) -> dict[str, Any]:
        began = time.monotonic()
        report: dict[str, Any] = {"tag": str(self._tag), "strength": self._strength, "damage": [], "repaired": None}
        try:
            damage = self._damage()
        except NotFound as error:
            if named:
                raise
            self._session.say(f"{self._tag}: not checked: {error.message}")
            return report | {"checked": False}
        report["seconds"] = time.monotonic() - began
        record = self._session.store.record(self._tag)
        report["size_bytes"] = record.manifest.card.size if record else 0
        report["damage"] = damage
        self._tell(report)
        if damage and repair:
            report["repaired"] = self._repair()
        return report | {"checked": True}

    def _damage(self) -> Sequence[dict[str, Any]]:
        try:
            found: Sequence[Damage] = self._session.store.check(self._tag, strength=self._strength)
        except (InvalidModel, LocalIOError) as error:
            # A file that cannot be read, or is none any more, is as damaged as one with other bytes.
            return [{"path": "", "begin": 0, "end": 0, "kind": "unreadable", "reason": error.message}]
        return [asdict(damage) for damage in found]

    def _tell(self, report: dict[str, Any]) -> None:
        if self._session.json:
            return
        for found in report["damage"]:
            self._session.result(f"{self._tag}: {found.get('reason') or _damage(found)}")
        if not report["damage"] and not self._session.quiet:
            size, seconds = report["size_bytes"], report["seconds"]
            speed = amounts.rate(size / seconds) if seconds > 0 else ""
            self._session.result(f"{self._tag}: ok ({amounts.brief(size)}, {amounts.duration(seconds)}, {speed})")

    def _repair(self) -> dict[str, Any]:
        from bentosync import aio

        session = self._session
        _, end = watched(
            session,
            lambda view: aio.repair(
                self._tag, remote=session.remote, strength=self._strength, settings=session.settings, on_event=view
            ),
        )
        if not session.json:
            session.result(f"{self._tag}: repaired (fetched {amounts.brief(end.moved_bytes)} from {end.remote})")
        return {"remote": end.remote, "fetched_bytes": end.moved_bytes, "seconds": end.seconds}
