"""list, get, delete, verify and load over a real store, and their twins in BentoML's shapes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Invoke, World


def test_list_shows_bentomls_columns_newest_first(invoke: Invoke, world: World) -> None:
    world.model("old:v1")
    world.model("summarization-model:btwtmvu5kwqc67i3", seed=1)
    header, first, second = invoke("list").stdout.splitlines()
    assert re.split(r"\s{2,}", header) == ["Tag", "Module", "Size", "Creation Time"]
    tag, size, time = re.split(r"\s{2,}", first)
    assert (tag, size) == ("summarization-model:btwtmvu5kwqc67i3", "1.00 MiB")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", time)
    assert second.startswith("old:v1 ")
    assert invoke("models", "list").stdout == invoke("list").stdout


def test_list_of_a_name_a_tag_and_what_is_missing(invoke: Invoke, world: World) -> None:
    world.model("a:v1")
    world.model("a:v2")
    world.model("b:v1")
    assert invoke("list", "a", "-q").stdout.split() == ["a:v2", "a:v1"]
    assert invoke("list", "a:v1", "-q").stdout.split() == ["a:v1"]
    missing = invoke("models", "list", "a:v9")
    assert (missing.exit_code, missing.stdout) == (0, "Tag  Module  Size  Creation Time\n")
    nobody = invoke("list", "nobody")
    assert nobody.exit_code == 3
    assert "no Models with name 'nobody' found" in nobody.stderr


def test_list_json_has_bentomls_keys_and_ours(invoke: Invoke, world: World) -> None:
    world.model()
    (entry,) = json.loads(invoke("list", "--json").stdout)
    assert list(entry) == ["tag", "module", "size", "creation_time", "size_bytes", "created", "digest", "labels",
                           "partial"]  # fmt: skip
    assert entry["size_bytes"] == world.store.get("m:v1").file_size
    assert entry["digest"] == world.store.describe(world.store.get("m:v1")).pin
    assert entry["labels"] == {"stage": "dev"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", entry["created"])


def test_models_list_json_and_yaml_have_exactly_bentomls_keys(invoke: Invoke, world: World) -> None:
    world.model()
    document = json.loads(invoke("models", "list", "-o", "json").stdout)
    assert [list(entry) for entry in document] == [["tag", "module", "size", "creation_time"]]
    assert yaml.safe_load(invoke("models", "list", "-o", "yaml").stdout) == document


def test_get_is_model_yaml_and_a_blank_line(invoke: Invoke, world: World) -> None:
    world.model()
    text = (Path(world.store.get("m:v1").path) / "model.yaml").read_text()
    assert invoke("get", "m").stdout == invoke("models", "get", "m:latest").stdout == text + "\n"


def test_get_json_path_and_prefix(invoke: Invoke, world: World) -> None:
    world.model("m:abcdef")
    document = json.loads(invoke("models", "get", "m:abc", "-o", "json").stdout)
    assert (document["name"], document["version"], document["labels"]) == ("m", "abcdef", {"stage": "dev"})
    path = world.store.get("m").path
    assert invoke("get", "m", "-o", "path").stdout == invoke("get", "-q", "m").stdout == f"{path}\n"
    whole = json.loads(invoke("get", "m", "--json").stdout)
    assert whole["path"] == path
    assert whole["info"]["version"] == "abcdef"


def test_get_tensors_reads_headers(invoke: Invoke, world: World) -> None:
    world.model(shards=2)
    rows = json.loads(invoke("get", "m", "-o", "tensors", "--json").stdout)
    assert len(rows) == 16
    assert rows[0] == {
        "name": "model.layers.0.weight",
        "dtype": "BF16",
        "shape": [512, 64],
        "bytes": 65536,
        "file": "model-00001-of-00002.safetensors",
        "offset": rows[0]["offset"],
    }
    assert len(invoke("get", "m", "-o", "tensors").stdout.splitlines()) == 17


def test_models_delete_asks_with_bentomls_words(invoke: Invoke, world: World) -> None:
    world.model("a:v1")
    world.model("a:v2")
    result = invoke("models", "delete", "a", input="n\ny\n")
    assert result.exit_code == 0
    assert result.stdout == 'delete model a:v1? [y/N]: n\ndelete model a:v2? [y/N]: y\nModel(tag="a:v2") deleted.\n'
    assert [str(model.tag) for model in world.store.list()] == ["a:v1"]


def test_models_delete_without_an_answer_aborts(invoke: Invoke, world: World) -> None:
    world.model()
    result = invoke("models", "delete", "m:v1", input="")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "Aborted!")
    assert world.store.list()


def test_models_delete_takes_commas_blanks_prefixes_and_latest(invoke: Invoke, world: World) -> None:
    for tag in ("a:v1", "b:v1", "c:abcdef", "d:v1"):
        world.model(tag)
    result = invoke("models", "delete", "-y", "a:v1,b:v1", "c:abc d:latest")
    assert result.stdout == "".join(f'Model(tag="{tag}") deleted.\n' for tag in ("a:v1", "b:v1", "c:abcdef", "d:v1"))
    assert not world.store.list()


def test_delete_without_a_terminal_needs_yes(invoke: Invoke, world: World) -> None:
    world.model()
    refused = invoke("delete", "m")
    assert refused.exit_code == 2
    assert "try: add --yes" in refused.stderr
    assert world.store.list()
    assert re.fullmatch(r"Deleted m:v1 \(1\.00 MiB\)\n", invoke("delete", "m", "-y").stdout)
    assert not world.store.list()


@pytest.mark.parametrize("delete", [("delete",), ("models", "delete")])
def test_a_model_that_a_bento_uses_is_not_deleted(invoke: Invoke, world: World, delete: tuple[str, ...]) -> None:
    world.model()
    bento = world.base / "bentoml/bentos/summ/gihr/bento.yaml"
    bento.parent.mkdir(parents=True)
    bento.write_text(yaml.safe_dump({"services": [{"name": "s", "models": [{"tag": "m:v1", "module": ""}]}]}))
    result = invoke(*delete, "-y", "m:v1")
    assert result.exit_code == 1
    assert "Model m:v1 is being used by the following bentos and can't be deleted:\n  summ:gihr" in result.stderr
    assert world.store.list()
    (bento.parent / "models").mkdir()
    assert invoke(*delete, "-y", "m:v1").exit_code == 0


def test_verify_is_quiet_about_what_is_whole(invoke: Invoke, world: World) -> None:
    world.model()
    for strength in ((), ("--full",), ("--strong",)):
        result = invoke("verify", *strength)
        assert result.exit_code == 0
        assert result.stdout.startswith("m:v1: ok (1.00 MiB, ")
    assert invoke("verify", "-q", "m").stdout == ""


def test_verify_names_file_and_bytes_of_damage(invoke: Invoke, world: World) -> None:
    world.model(size_bytes=3 << 20)
    path = Path(world.store.get("m").path) / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(2 << 20)
        file.write(b"\xff" * 3)
    result = invoke("verify", "m")
    assert result.exit_code == 6
    assert re.match(r"m:v1: model\.safetensors: bytes 2097152\.\.3145728 ", result.stdout)
    assert result.stderr.startswith(
        "error[INTEGRITY]: 1 model of 1 damaged: m:v1\n  try: bentosync verify --repair m:v1\n"
    )
    (report,) = json.loads(invoke("verify", "--json").stdout)
    assert report["damage"][0]["begin"] == 2 << 20


def test_load_reports_what_it_did(invoke: Invoke, world: World) -> None:
    pytest.importorskip("torch")
    world.model(shards=2)
    result = invoke("load", "m", "--device", "cpu")
    assert result.exit_code == 0
    assert "m:v1: 16 tensors, 1.00 MiB from 2 files on cpu in " in result.stdout
    report = json.loads(invoke("load", "m", "--device", "cpu", "--verify", "strong", "--json").stdout)
    assert (report["bytes"], report["verified"]) == (1 << 20, "strong")


def test_load_finds_the_digests_of_another_store(invoke: Invoke, world: World) -> None:
    pytest.importorskip("torch")
    world.model()
    (world.base / "bentoml").rename(world.base / "elsewhere")
    result = invoke("load", "m", "--store", str(world.base / "elsewhere"), "--device", "cpu", "--verify", "full")
    assert result.exit_code == 0, result.stderr
    assert "verify full" in result.stdout


def test_load_follows_a_pin(invoke: Invoke, world: World) -> None:
    pytest.importorskip("torch")
    world.model()
    pin = json.loads(invoke("get", "m", "--json").stdout)["digest"]
    assert invoke("load", f"m@{pin}", "--device", "cpu").exit_code == 0
    assert invoke("load", f"m@b3:{'0' * 64}", "--device", "cpu").exit_code == 6


def test_load_brings_what_the_store_lacks_and_says_so(invoke: Invoke, world: World) -> None:
    world.model()
    invoke("push", "m")
    pin = json.loads(invoke("list", "--json").stdout)[0]["digest"]
    for reference in ("m", "m:v1", f"m:v1@{pin}"):
        invoke("delete", "-y", "m")
        result = invoke("load", reference, "--device", "cpu")
        assert result.exit_code == 0, result.stderr
        assert f"{reference} is not in {world.base}/bentoml: it comes from file://{world.remote}\n" in result.stderr
        assert "m:v1" in result.stdout
        assert [str(model.tag) for model in world.store.list()] == ["m:v1"]
    again = invoke("load", "m", "--device", "cpu", "--json")
    assert "comes from" not in again.stderr
    assert json.loads(again.stdout)["label"] == "m:v1"


def test_load_of_what_is_nowhere_is_not_found(invoke: Invoke, world: World) -> None:
    assert invoke("load", "nothing", "--device", "cpu").exit_code == 3
    world.configure("")
    assert invoke("load", "nothing", "--device", "cpu").exit_code == 3


def test_load_to_a_device_that_is_none_is_usage(invoke: Invoke, world: World) -> None:
    pytest.importorskip("torch")
    world.model()
    assert invoke("load", "m", "--device", "abacus").exit_code == 2
