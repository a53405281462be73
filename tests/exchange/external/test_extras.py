"""Without its extra each storage says in one line how to get it; with it, it is imported when it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bentosync.exchange.external.schemes import SCHEMES

# A finder in front of all others that refuses what is not installed in a bare environment.
_BARE = """
import json, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED or name.startswith(("backports.zstd", "compression.zstd")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

REFUSED = {"adlfs", "dropbox", "fsspec", "gcsfs", "huggingface_hub", "sshfs", "webdav4"}
sys.meta_path.insert(0, Refusing())
from bentosync import models
from bentosync.errors import MissingExtra
said = {}
for url in json.loads(sys.argv[1]):
    try:
        models.import_model(url)
    except MissingExtra as error:
        said[url] = [error.message, error.hint]
loaded = sorted(REFUSED & set(sys.modules))
print(json.dumps([said, loaded]))
"""


def bare(home: Path, *urls: str) -> tuple[dict[str, list[str]], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _BARE, json.dumps(urls)],
        env={"BENTOML_HOME": str(home), "HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, loaded = json.loads(done.stdout)
    return said, loaded


def test_every_scheme_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    urls = [f"{name}://host/x.tar" for name in SCHEMES if name != "s3"]
    said, loaded = bare(tmp_path, *urls)
    assert {url: hint for url, (_, hint) in said.items()} == {
        url: f'pip install "bentosync[{SCHEMES[url.partition(":")[0]].extra}]"' for url in urls
    }
    assert all("\n" not in message and "which is not installed" in message for message, _ in said.values())
    assert said["gs://host/x.tar"] == ["gs:// needs gcsfs, which is not installed", 'pip install "bentosync[gcs]"']
    assert loaded == []


def test_a_zst_archive_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    archive = tmp_path / "x"
    archive.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    said, _ = bare(tmp_path, str(archive))
    assert list(said.values()) == [
        ["zst archives need backports.zstd, which is not installed", 'pip install "bentosync[zstd]"']
    ]


def test_the_extras_that_are_named_exist() -> None:
    import tomllib

    root = Path(__file__).parents[3]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {of.extra for of in SCHEMES.values() if of.extra} | {"zstd"} <= extras.keys()


def test_no_library_of_another_storage_is_imported_for_a_bucket_or_a_file() -> None:
    code = (
        "import sys\nfrom bentosync import models\nfrom bentosync.exchange import importing, exporting\n"
        "import bentosync.exchange.external.opening\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('fsspec', 'gcsfs', 'dropbox', 'sshfs', 'webdav4', 'huggingface_hub', 'asyncssh', 'requests', 'httpx')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("scheme", ["http", "https", "hf"])
def test_what_can_only_be_read_says_so(scheme: str, tmp_path: Path) -> None:
    from bentosync.errors import Unsupported
    from bentosync.exchange import place
    from bentosync.exchange.exporting import export_model
    from bentosync.store.store import Store
    from tests.store.trees import create

    store = Store(tmp_path)
    create(store, "m:v1")
    with pytest.raises(Unsupported, match="can only be read"):
        export_model(store, "m:v1", place.of(f"{scheme}://host/m/x.tar"))
