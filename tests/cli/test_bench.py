"""`bentosync bench coldstart` on a folder as the remote: every stage is timed, and the own store stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bentosync
from bentosync.cli.main import root
from bentosync.cli.synthetic import write_model


def test_a_cold_start_is_timed_stage_by_stage_in_stores_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = (tmp_path / "remote").as_uri()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "publisher"))
    with bentosync.models.create("m:v1") as model:
        write_model(Path(model.path), size_bytes=3 << 20, shards=2)
    bentosync.push("m:v1", remote=url)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    arguments = ["--json", "--remote", url, "bench", "coldstart", "m:v1", "--rounds", "1", "--way", "streamed"]
    with pytest.raises(SystemExit) as end:
        root.main([*arguments, "--folder", str(tmp_path / "work")])
    assert not end.value.code
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    timeline = run["timeline"]
    assert 0 < timeline["resolved"] <= timeline["first_tensor"] <= timeline["last_tensor"] < timeline["published"]
    assert run["cache"]["state"] == "published"
    assert not (tmp_path / "home").exists()
    assert list((tmp_path / "work").iterdir()) == []
