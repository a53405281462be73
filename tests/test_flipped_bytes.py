"""One flipped byte in each place where a model lies or passes by: what each command says, and how it ends.

`python -m pytest tests/test_flipped_bytes.py -s` prints the table; docs/how-to/repair-and-clean-up.md holds it, and a
test compares the two. Every case starts from the same state: `m:v1` is whole in the publisher's store, on the remote
(a fault server with S3 semantics) and in the consumer's store.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bentosync.cli.main import root
from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.oracle import tree_digest
from tests.servers.faulty.actions import Flip, FlipRequest
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.server import BUCKET, FaultyS3
from tests.servers.faulty.signature import Keys

MIB = 1 << 20
KEYS = Keys("AKIDFLIPPED", "secret/key")
TAG = Tag("m", "v1")
DOCUMENT = Path(__file__).parents[1] / "docs/how-to/repair-and-clean-up.md"
AT = 2 * MIB + 77
"""In the third block of the file."""


@dataclass
class Bench:
    """Two stores and a server, for one case."""

    base: Path
    server: FaultyS3
    good: str

    def run(self, home: str, line: str) -> Result:
        os.environ["BENTOML_HOME"] = str(self.base / home)
        return CliRunner().invoke(root, line.split())

    def tree(self, home: str) -> Path:
        return self.base / home / "models/m/v1"

    def whole(self, home: str) -> bool:
        return self.tree(home).is_dir() and tree_digest(self.tree(home)) == self.good

    def published(self) -> bool:
        """Whether a fresh store can pull the version, whole."""
        fresh = self.run("fresh", "pull m:v1").exit_code == 0 and self.whole("fresh")
        shutil.rmtree(self.base / "fresh", ignore_errors=True)
        return fresh


# --- the places -------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int = AT, *, quietly: bool = False) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        (old,) = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([old ^ 0x10]), at)
    if quietly:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def local(bench: Bench) -> None:
    flip(bench.tree("consumer") / "model.safetensors")


def local_and_differing(bench: Bench) -> None:
    """A flip, and another version of the same name was published meanwhile."""
    local(bench)
    with Store(bench.base / "other").create("m:v1") as model:
        write_model(Path(model.path), size_bytes=MIB, shards=1, seed=9)
    assert bench.run("other", "push --force m:v1").exit_code == 0


def partial(bench: Bench) -> None:
    bench.run("consumer", "delete -y m:v1")
    assert bench.run("consumer", "pull m:v1 --include *.safetensors").exit_code == 0
    (tree,) = (bench.base / "consumer/.bentosync/partial").glob("*/tree")
    flip(tree / "model.safetensors")


def key_of(bench: Bench, name: str) -> str:
    (key,) = [key for key in bench.server.bucket.objects if key.endswith(name)]
    return key


def flip_object(bench: Bench, name: str, at: int) -> None:
    key = key_of(bench, name)
    data = bytearray(bench.server.bucket.objects[key].data)
    data[at] ^= 0x10
    bench.server.bucket.put(key, bytes(data))


def bucket(bench: Bench) -> None:
    flip_object(bench, "model.safetensors", AT)


def bucket_and_local(bench: Bench) -> None:
    bucket(bench)
    local(bench)


def manifest(bench: Bench) -> None:
    flip_object(bench, "v1.jsonl", 700)


def manifest_and_local(bench: Bench) -> None:
    manifest(bench)
    local(bench)


def down_once(bench: Bench) -> None:
    bench.server.inject("GetObject", Flip(77), key="safetensors")


def down_always(bench: Bench) -> None:
    bench.server.inject("GetObject", Flip(77), key="safetensors", times=None)


def down_manifest(bench: Bench) -> None:
    bench.server.inject("GetObject", Flip(700), key="jsonl")


def down_and_local(bench: Bench) -> None:
    local(bench)
    down_once(bench)


def up_once(bench: Bench) -> None:
    bench.server.bucket.objects.clear()
    bench.server.inject("PutObject", FlipRequest(AT), key="safetensors")


def up_always(bench: Bench) -> None:
    bench.server.bucket.objects.clear()
    bench.server.inject("PutObject", FlipRequest(AT), key="safetensors", times=None)


# --- the cases --------------------------------------------------------------------------------------------------------


def nothing_changed(bench: Bench) -> bool:
    """The publisher's copy is whole, and what was damaged is as it was."""
    return bench.whole("publisher")


def consumer_whole(bench: Bench) -> bool:
    return bench.whole("consumer")


def consumer_damaged(bench: Bench) -> bool:
    return not bench.whole("consumer") and bench.published()


def remote_whole(bench: Bench) -> bool:
    return bench.published()


def remote_damaged(bench: Bench) -> bool:
    return not bench.published() and bench.whole("publisher")


def nothing_published(bench: Bench) -> bool:
    return not [key for key in bench.server.bucket.objects if key.endswith(".jsonl")]


@dataclass(frozen=True)
class Case:
    """`says` is matched against what the command prints; `shown` is that, for people."""

    place: str
    happens: Callable[[Bench], None]
    home: str
    command: str
    status: int
    says: str
    end: Callable[[Bench], bool]
    shown: str = field(default="")

    def row(self) -> str:
        """The case as a line of the table."""
        return f"| {self.place} | `{self.command}` | {self.status} | {self.shown or self.says} |"


LOCAL, PARTIAL, OBJECT, MANIFEST, FLIGHT = "local file", "partial", "object in the bucket", "manifest", "in flight"
BLOCK = f"bytes {2 * MIB}..{3 * MIB} differ"

CASES = (
    Case(LOCAL, local, "consumer", "pull m:v1", 7, "has other content than on s3://", consumer_damaged),
    Case(LOCAL, local, "consumer", "verify m:v1", 6, f"model.safetensors: {BLOCK}", consumer_damaged),
    Case(LOCAL, local, "consumer", "verify --repair m:v1", 0, "repaired (fetched 1.00 MiB", consumer_whole),
    Case(LOCAL, local, "consumer", "pull --force m:v1", 0, "Successfully pulled", consumer_whole,
         "Successfully pulled (received 1 MiB and what the manifest carries)"),
    Case(LOCAL, local, "consumer", "push m:v1", 7, "exists on s3://bench with other content", consumer_damaged),
    Case(LOCAL, local, "consumer", "push --force m:v1", 6,
         "is not what it was when it was recorded (model.safetensors differs)", consumer_damaged),
    Case(PARTIAL, partial, "consumer", "list", 0, "partial: 1 file of 3, 100%", remote_whole),
    Case(PARTIAL, partial, "consumer", "verify m:v1", 3, "no Models with name 'm'|not found", remote_whole,
         "not found: a part is no version"),
    Case(PARTIAL, partial, "consumer", "pull m:v1", 0, "Successfully pulled", consumer_whole,
         "Successfully pulled (the flipped block is fetched again, the others are not)"),
    Case(OBJECT, bucket, "fresh", "pull m:v1", 6,
         f"model.safetensors: bytes {2 * MIB}..{3 * MIB} arrived, but their XXH3 digest is not the manifest's",
         remote_damaged, f"bytes {2 * MIB}..{3 * MIB} arrived, but their XXH3 digest is not the manifest's; "
         "try: bentosync push --resend m:v1, from a good copy"),
    Case(OBJECT, bucket, "consumer", "verify m:v1", 0, "m:v1: ok", remote_damaged),
    Case(OBJECT, bucket, "fresh", "verify --remote m:v1", 6, f"m:v1 on s3://bench: model.safetensors: {BLOCK}",
         remote_damaged),
    Case(OBJECT, bucket_and_local, "consumer", "verify --repair m:v1", 6, "arrived, but their XXH3 digest",
         remote_damaged, "the same; the local version stays as it was"),
    Case(OBJECT, bucket, "publisher", "push m:v1", 0, "Up to date", remote_damaged,
         "Up to date: nothing is read back"),
    Case(OBJECT, bucket, "publisher", "push --resend m:v1", 0, "Successfully pushed", remote_whole),
    Case(MANIFEST, manifest, "fresh", "pull m:v1", 6, "error[UNSAFE]", remote_damaged,
         "error[UNSAFE]: what is wrong with the manifest"),
    Case(MANIFEST, manifest, "consumer", "verify m:v1", 0, "m:v1: ok", remote_damaged),
    Case(MANIFEST, manifest, "fresh", "verify --remote m:v1", 6, "error[UNSAFE]", remote_damaged),
    Case(MANIFEST, manifest_and_local, "consumer", "verify --repair m:v1", 6, "error[UNSAFE]", remote_damaged),
    Case(MANIFEST, manifest, "publisher", "push m:v1", 6, "push m:v1 --force puts a good one in its place",
         remote_damaged),
    Case(MANIFEST, manifest, "publisher", "push --force m:v1", 0, "Successfully pushed", remote_whole),
    Case(FLIGHT, down_once, "fresh", "pull m:v1", 0, "arrived, but their XXH3 digest is not the manifest's; try 2",
         lambda bench: bench.whole("fresh")),
    Case(FLIGHT, down_always, "fresh", "pull m:v1", 6, "arrived, but their XXH3 digest is not the manifest's",
         lambda bench: not bench.tree("fresh").exists()),
    Case(FLIGHT, down_manifest, "fresh", "pull m:v1", 0, "Successfully pulled", lambda bench: bench.whole("fresh"),
         "Successfully pulled (the manifest is asked for twice)"),
    Case(FLIGHT, down_and_local, "consumer", "verify --repair m:v1", 0, "repaired (fetched 1.00 MiB", consumer_whole),
    Case(FLIGHT, down_once, "fresh", "verify --remote m:v1", 0, "m:v1 on s3://bench: ok", remote_whole),
    Case(FLIGHT, up_once, "publisher", "push m:v1", 0, "got other bytes of", remote_whole,
         "the store got other bytes; try 2: Successfully pushed"),
    Case(FLIGHT, up_always, "publisher", "push m:v1", 6, "got other bytes of", nothing_published),
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """What every case starts from."""

    base: Path
    server: FaultyS3
    published: Bucket
    good: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    base = tmp_path_factory.mktemp("flipped")
    with pytest.MonkeyPatch.context() as patch, FaultyS3(KEYS) as server:
        configure(patch, base, server)
        with Store(base / "publisher").create("m:v1") as model:
            write_model(Path(model.path), size_bytes=4 * MIB, shards=1, seed=1)
        for home, line in (("publisher", "push m:v1"), ("consumer", "pull m:v1")):
            patch.setenv("BENTOML_HOME", str(base / home))
            done = CliRunner().invoke(root, line.split())
            assert done.exit_code == 0, done.stderr
        published = Bucket()
        published.become(server.bucket)
        yield Stage(base, server, published, tree_digest(base / "publisher/models/m/v1"))


def configure(patch: pytest.MonkeyPatch, base: Path, server: FaultyS3) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "BENTO")) or name.lower().endswith("proxy")]:
        patch.delenv(name)
    (base / "config/bentosync").mkdir(parents=True, exist_ok=True)
    (base / "config/bentosync/config.toml").write_text(
        "[transfer]\nretry_base_seconds = 0.001\nretry_cap_seconds = 0.01\n"
        f'[remote.r]\nurl = "s3://{BUCKET}"\nendpoint_url = "{server.url}"\nregion = "{KEYS.region}"\n'
    )
    around = {
        "XDG_CONFIG_HOME": str(base / "config"), "XDG_CACHE_HOME": str(base / "cache"), "HOME": str(base),
        "AWS_ACCESS_KEY_ID": KEYS.access_key, "AWS_SECRET_ACCESS_KEY": KEYS.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true", "BENTOML_HOME": str(base / "publisher"),
    }  # fmt: skip
    for name, value in around.items():
        patch.setenv(name, value)
    patch.chdir(base)


@pytest.fixture
def bench(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for home in ("publisher", "consumer"):
        shutil.copytree(stage.base / home, tmp_path / home)
    configure(monkeypatch, tmp_path, stage.server)
    stage.server.bucket.become(stage.published)
    yield Bench(tmp_path, stage.server, stage.good)
    stage.server.heal()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.happens.__name__}, {case.command}")
def test_a_flipped_byte_is_noticed_named_and_leads_to_nothing_wrong(bench: Bench, case: Case) -> None:
    case.happens(bench)
    done = bench.run(case.home, case.command)
    said = done.stdout + done.stderr
    assert done.exit_code == case.status, said
    assert re.search(case.says.replace("(", r"\(").replace(")", r"\)").replace("[", r"\["), said), said
    bench.server.heal()
    assert case.end(bench), said
    assert nothing_changed(bench)
    print(case.row())


def test_the_table_is_the_one_in_the_documentation() -> None:
    documented = DOCUMENT.read_text()
    assert [case.row() for case in CASES if case.row() not in documented] == []
