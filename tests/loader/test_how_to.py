"""The pages about frameworks, run as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bentosync
from bentosync.cli.synthetic import write_model

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str = "") -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (HOW_TO / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found


CHECKS = """
reference = LlamaForCausalLM.from_pretrained(bentosync.models.get("tiny-llama").path).to(device)
ids = torch.arange(8, device=device)[None]
expected = reference(ids).logits
for model in (given, bare):
    assert torch.equal(model(ids).logits, expected)
    assert model.model.embed_tokens.weight.data_ptr() == weights["model.embed_tokens.weight"].data_ptr()
assert (missing, unexpected) == ([], [])
"""


def test_the_page_about_transformers_gives_the_reference_model_and_copies_no_weight(tmp_path: Path) -> None:
    first, given, *rest = blocks("transformers.md", "python")
    code = "\n".join([first, given, "given = llama.eval()", *rest, CHECKS])
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("block", range(2))
def test_the_commands_for_vllm_hand_it_a_folder_with_the_weights(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = (tmp_path / "remote").as_uri()
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "publisher"))
    with bentosync.models.create("llama3-8b") as model:
        write_model(Path(model.path), size_bytes=1 << 20, shards=1, seed=1)
    bentosync.push("llama3-8b", remote=remote)
    (tmp_path / "vllm").write_text('#!/bin/sh\ntest "$1" = serve && ls "$2"\n')
    (tmp_path / "vllm").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "host"), "BENTOSYNC_REMOTE": remote, "PATH": path}
    command = ["bash", "-c", blocks("vllm.md")[block]]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert any(name.endswith(".safetensors") for name in run.stdout.split())
