"""The policies of docs/how-to/permissions.md: each is enough for its command, and not one grant of it is too much.

The fault server evaluates them as Amazon does (a missing object is refused to who may not list), so there every grant
is taken away once. SeaweedFS has an evaluator of its own, written by others: it must agree on the whole ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bentosync import aio
from bentosync.errors import AuthError, NetworkError
from bentosync.remote.contract import Forbidden
from bentosync.remote.open import open_remote
from bentosync.settings import RemoteSettings, Settings, TransferSettings
from bentosync.store.store import Store
from tests.blocks import content
from tests.servers.faulty.actions import ResetRequest
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.policy import FOLDER, Grant, Policy
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys
from tests.servers.identities import user
from tests.servers.s3 import S3Server

PREFIX = "prod/models"
KEYS = Keys("AKIDPOLICY", "policy/secret+key")
NAMES = ["pull", "list", "push", "delete", "gc"]
MIB = 1 << 20


def load(name: str) -> Policy:
    return Policy.load(name, bucket=BUCKET, prefix=PREFIX)


GRANTS = [(name, grant) for name in NAMES for grant in load(name).grants]


@dataclass(frozen=True)
class Place:
    """A remote at an endpoint, and the stores of those who use it."""

    root: Path
    endpoint_url: str
    prefix: str = PREFIX

    def settings(self, home: str, **more: Any) -> Settings:
        remote = RemoteSettings(f"s3://{BUCKET}/{self.prefix}", endpoint_url=self.endpoint_url, region="us-east-1")
        transfer = TransferSettings(attempts=1, retry_base_seconds=0.001, jobs=4)
        return Settings(home=self.root / home, remotes={"r": remote}, transfer=transfer, **more)

    def create(self, home: str, tag: str, *, seed: int, large: bool = False) -> None:
        with Store(self.root / home).create(tag) as model:
            Path(model.path, "note.txt").write_bytes(content(seed, 100_000))
            if large:
                Path(model.path, "large.bin").write_bytes(content(seed, 17 * MIB))

    async def publish(self, home: str, tag: str, *, seed: int) -> None:
        self.create(home, tag, seed=seed)
        await aio.push(tag, settings=self.settings(home))

    async def stray_upload(self, tag: str) -> None:
        """An upload in flight in the folder of a published version."""
        remote = open_remote(self.settings("x").remotes["r"], TransferSettings())
        name, _, version = tag.partition(":")
        async for found in remote.list(f"files/{name}/{version}-"):
            await remote.start_upload(f"{found.key}.stray", size=MIB, part_bytes=MIB)
            break
        await remote.aclose()


# --- what each command does at its most ------------------------------------------------------------------------------


async def pull(place: Place, home: str) -> None:
    await aio.pull("m", settings=place.settings(home))


async def list_models(place: Place, home: str) -> None:
    assert {str(head.tag) for head in await aio.list_remote(settings=place.settings(home))} == {"m:v1", "m:v2"}


async def push(place: Place, home: str) -> None:
    """Goes on with an interrupted one, which replaces another."""
    await aio.push("m:v1", force=True, settings=place.settings("replacing"))


async def delete(place: Place, home: str) -> None:
    await aio.delete_remote("m:v2", settings=place.settings(home))


async def gc(place: Place, home: str) -> None:
    plan = await aio.gc_remote(force=True, min_age_seconds=0, settings=place.settings(home))
    assert (len(plan.folders), len(plan.records), len(plan.stray)) == (1, 1, 1)


ACTS: dict[str, Callable[[Place, str], Awaitable[None]]] = {
    "pull": pull, "list": list_models, "push": push, "delete": delete, "gc": gc,
}  # fmt: skip


async def prepare(place: Place, name: str, interrupt: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
    """What must be there so that the command has all its work to do; within `interrupt` no push comes to its end."""
    await place.publish("publisher", "m:v1", seed=1)
    if name in ("pull", "list", "delete"):
        await place.publish("publisher", "m:v2", seed=2)
    if name == "delete":
        await place.stray_upload("m:v2")
    if name in ("push", "gc"):
        await place.stray_upload("m:v1")
        tag = "m:v1" if name == "push" else "m:v2"
        place.create("replacing", tag, seed=3, large=True)
        with interrupt(), pytest.raises((NetworkError, Forbidden)):
            await aio.push(tag, force=True, settings=place.settings("replacing"))
    if name == "push":
        remote = open_remote(place.settings("x").remotes["r"], TransferSettings())
        await remote.delete("bentosync.json")
        await remote.aclose()


# --- on the fault server ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """The fault server, and for each command its state beforehand and the stores of those who made it."""

    root: Path
    server: FaultyS3
    states: dict[str, Bucket] = field(default_factory=dict)

    def place(self, name: str) -> Place:
        return Place(self.root / name, self.server.url)

    def run(self, name: str, policy: Policy, home: str = "consumer") -> None:
        self.server.bucket.become(self.states[name])
        self.server.policy = policy
        try:
            asyncio.run(ACTS[name](self.place(name), home))
        finally:
            self.server.policy = None


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch, FaultyS3(KEYS) as server:
        adopt(S3Server("", access_key=KEYS.access_key, secret_key=KEYS.secret_key), patch)
        stage = Stage(tmp_path_factory.mktemp("policies"), server)

        @contextlib.contextmanager
        def interrupt() -> Iterator[None]:
            server.inject("UploadPart", ResetRequest(), part=2, times=None)
            yield
            server.heal()

        for name in NAMES:
            server.bucket.become(Bucket())
            asyncio.run(prepare(stage.place(name), name, interrupt))
            stage.states[name] = server.bucket.snapshot()
        yield stage


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_enough_and_everything_in_it_is_used(stage: Stage, name: str) -> None:
    policy = load(name)
    stage.run(name, policy)
    assert policy.used == set(policy.grants)


@pytest.mark.parametrize(
    ("name", "gone"), GRANTS, ids=lambda value: value if isinstance(value, str) else ":".join(value)
)
def test_without_any_one_grant_the_command_is_refused_and_says_which(stage: Stage, name: str, gone: Grant) -> None:
    with pytest.raises(Forbidden) as caught:
        stage.run(name, load(name).without(gone), f"consumer without {GRANTS.index((name, gone))}")
    assert gone.action in f"{caught.value.permission} {caught.value.hint}"


def test_the_page_about_permissions_names_every_policy() -> None:
    page = (FOLDER.parent / "permissions.md").read_text()
    assert set(re.findall(r"\(policies/(\w+)\.json\)", page)) == set(NAMES) == {path.stem for path in FOLDER.iterdir()}


# --- on SeaweedFS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_seaweedfs_agrees_that_a_policy_is_enough_and_that_a_part_of_it_is_not(
    seaweed: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = Place(tmp_path, seaweed.endpoint_url, prefix=f"policy-{secrets.token_hex(4)}/{name}")

    def policy_of(name: str) -> Policy:
        return Policy.load(name, bucket=BUCKET, prefix=place.prefix)

    @contextlib.contextmanager
    def acting(policy: Policy) -> Iterator[None]:
        with user(seaweed, policy.document) as somebody:
            adopt(somebody, monkeypatch)
            yield
            adopt(seaweed, monkeypatch)

    adopt(seaweed, monkeypatch)
    asyncio.run(prepare(place, name, lambda: acting(without_manifests(policy_of("push")))))
    whole = policy_of(name)
    with acting(whole.without(whole.grants[0])), pytest.raises(AuthError):
        asyncio.run(ACTS[name](place, "consumer"))
    with acting(whole):
        asyncio.run(ACTS[name](place, "consumer"))


def without_manifests(push: Policy) -> Policy:
    """A push under this policy gets as far as its files."""
    (grant,) = [grant for grant in push.grants if grant[1] == "s3:PutObject" and grant.resource.endswith("models/*")]
    records = {"Sid": "R", "Effect": "Allow", "Action": [grant.action], "Resource": [f"{grant.resource}/pushes/*"]}
    document = push.without(grant).document
    return Policy({**document, "Statement": [*document["Statement"], records]})


def adopt(server: S3Server, patch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(variable)
    for variable, value in server.environment.items():
        patch.setenv(variable, value)
