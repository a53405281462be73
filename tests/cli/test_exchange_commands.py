"""`import` and `export` on the command line, ours and BentoML's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, World


def test_export_and_import_say_what_they_did_and_where(world: World, invoke: Invoke) -> None:
    world.model("m:v1", size_bytes=1 << 20)
    done = invoke("export", "m")
    archive = world.base / "cwd/m-v1.bentomodel"
    assert (done.exit_code, done.stdout.partition(" (")[0]) == (0, f"Exported m:v1 to {archive}")
    done = invoke("--store", str(world.base / "other"), "import", "m-v1.bentomodel")
    assert (done.exit_code, done.stdout.partition(" (")[0]) == (0, "Imported m:v1")


def test_bentomls_result_lines_are_whole_in_a_pipe(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    target = world.base / ("long" * 40) / "x.tar"
    target.parent.mkdir()
    assert invoke("models", "export", "m:v1", str(target)).stdout == f'Model(tag="m:v1") exported to {target}.\n'
    done = invoke("models", "import", str(target), "--store", str(world.base / "other"))
    assert done.stdout == 'Model(tag="m:v1") imported.\n'
    assert invoke("models", "export", "m").stdout.endswith("/cwd/m-v1.bentomodel.\n")


def test_quiet_prints_paths_and_json_prints_a_document(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    path = invoke("export", "-q", "m", "x.zip").stdout
    assert path == f"{world.base}/cwd/x.zip\n"
    other = str(world.base / "other")
    assert invoke("import", "-q", "x.zip", "--store", other).stdout == f"{other}/models/m/v1\n"
    document = json.loads(invoke("export", "--json", "m", "y", "--format", "gz", "--compress").stdout)
    assert (document["operation"], document["path"]) == ("export", f"{world.base}/cwd/y")
    (document,) = json.loads(invoke("import", "--json", "--skip-existing", "y", "--store", other).stdout)
    assert (document["outcome"], document["path"]) == ("up-to-date", f"{other}/models/m/v1")


def test_an_existing_version_is_a_conflict_unless_it_may_stay_or_go(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    invoke("export", "m", "x.tar")
    done = invoke("import", "x.tar")
    assert done.exit_code == 7
    assert "error[CONFLICT]: Item 'm:v1' already exists in the store" in done.stderr
    assert "--skip-existing" in done.stderr
    assert invoke("import", "--skip-existing", "x.tar").stdout == "Kept m:v1, which is in the store already\n"
    assert invoke("import", "--force", "x.tar").stdout.startswith("Imported m:v1")
    assert invoke("import", "--force", "--skip-existing", "x.tar").exit_code == 2


def test_folders_come_in_by_name(world: World, invoke: Invoke) -> None:
    Path("snapshot").mkdir()
    Path("snapshot/config.json").write_text("{}")
    done = invoke("import", "snapshot")
    assert (done.exit_code, "--name NAME[:VERSION]" in done.stderr) == (2, True)
    assert invoke("import", "snapshot", "--name", "bert:v1").stdout.startswith("Imported bert:v1 (2 files")
    assert invoke("import", "snapshot", "snapshot", "--name", "bert").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("import", "missing"), 3, "no such file or folder"),
        (("import", "."), 2, "is empty"),
        (("import", "nonsense://bucket/x"), 2, "Unknown or unsupported protocol nonsense"),
        (("export", "m", "s3://bucket/x?endpiont_url=y"), 2, "there is no option 'endpiont_url'"),
        (("export", "--offline", "m", "s3://bucket/x"), 2, "needs the network, and offline is set"),
        (("export", "nope"), 3, "no Models with name 'nope'"),
        (("export", "m", "no/x"), 2, "mkdir -p"),
        (("export", "m", "x.tar", "--compress"), 2, "cannot be compressed"),
        (("export", "m", "--format", "bogus"), 2, "bogus"),
        (("import", "evil.tar"), 6, "hard link"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    world: World, invoke: Invoke, arguments: tuple[str, ...], status: int, word: str
) -> None:
    from tests.formats.archive import forging

    world.model("m:v1")
    Path("evil.tar").write_bytes(forging.header(b"a", kind=b"1", link=b"x") + forging.tar())
    if arguments == ("import", "."):
        Path("evil.tar").unlink()
    done = invoke(*arguments)
    assert done.exit_code == status
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_archive_does_not_stop_the_others(world: World, invoke: Invoke) -> None:
    world.model("m:v1")
    invoke("export", "m", "good.tar")
    Path("bad.tar").write_bytes(Path("good.tar").read_bytes()[:5000])
    done = invoke("import", "bad.tar", "good.tar", "--store", str(world.base / "other"))
    assert done.exit_code == 10
    assert done.stdout.startswith("Imported m:v1")
    assert "bad.tar: " in done.stderr


def test_other_storage_by_url_with_the_right_exit_codes_and_no_password(world: World, invoke: Invoke) -> None:
    from tests.servers.ftp import ftp

    world.model()
    root = world.base / "served"
    root.mkdir()
    with ftp(root) as server:
        url = f"ftp://me:hush@127.0.0.1:{server.port}/out/"
        done = invoke("export", "m", url)
        assert done.exit_code == 0
        assert f"Exported m:v1 to ftp://127.0.0.1:{server.port}/out/m-v1.bentomodel (" in done.stdout
        assert invoke("models", "export", "m", f"{url}x.zip").stdout == (
            f'Model(tag="m:v1") exported to ftp://127.0.0.1:{server.port}/out/x.zip.\n'
        )
        assert sorted(path.name for path in (root / "out").iterdir()) == ["m-v1.bentomodel", "x.zip"]
        other = str(world.base / "other")
        assert invoke("import", "--store", other, f"{url}x.zip").stdout.startswith("Imported m:v1 (")
        skipped = invoke("models", "import", f"{url}m-v1.bentomodel", "--store", str(world.base / "third"))
        assert skipped.stdout == 'Model(tag="m:v1") imported.\n'
        for arguments, status, code in (
            (("import", f"{url}nothing.tar"), 3, "NOT-FOUND"),
            (("import", url.replace("hush", "swordfish")), 4, "AUTH"),
            (("export", "m", url.replace("hush", "swordfish")), 4, "AUTH"),
        ):
            done = invoke("-vv", *arguments)
            assert (done.exit_code, code in done.stderr) == (status, True)
            assert "swordfish" not in done.output + done.stderr
            assert "hush" not in done.output + done.stderr
    gone = invoke("export", "m", url)
    assert (gone.exit_code, "NETWORK" in gone.stderr) == (5, True)
