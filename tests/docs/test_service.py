"""The service of docs/how-to/services.md, under the real BentoML."""

from __future__ import annotations

from pathlib import Path

from bentosync.cli.synthetic import write_model
from bentosync.store.store import Store
from tests import real_bentoml
from tests.docs.page import DOCS, blocks

SCRIPT = """
import warnings
from _bentoml_impl.loader import load

warnings.simplefilter("ignore", RuntimeWarning)  # there is no CUDA
service = load("service:Summarizer", working_dir=argument)
result = [[str(model.to_info().tag) for model in service.models], sorted(service().weights)[:2]]
"""


def test_the_service_of_the_page_names_its_model_and_loads_it(tmp_path: Path) -> None:
    real_bentoml.with_bentosync()
    with Store(tmp_path / "home").create("summarization-model:v1") as model:
        write_model(Path(model.path), size_bytes=1 << 16, shards=1, tensors_per_shard=2)
    (code,) = [block.text for block in blocks(DOCS / "how-to/services.md") if block.language == "python"]
    (tmp_path / "service.py").write_text(code)
    models, weights = real_bentoml.run(SCRIPT, str(tmp_path), home=tmp_path / "home")
    assert models == ["summarization-model:v1"]
    assert len(weights) == 2
