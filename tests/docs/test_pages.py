"""Every command and every piece of Python in the documentation, run as it stands; see `tests.docs.page`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from bentosync.testing import S3Server
from tests.docs.page import DOCS, RUN, blocks
from tests.docs.scene import Scene

ROOT = DOCS.parent
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
TEXT = ("text", "toml", "yaml", "json", "")
PROD = "s3://my-models/prod"


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prod(scene: Scene) -> None:
    """A default remote `prod` with two versions of a model."""
    scene.configure("prod", PROD)
    scene.publish("llama3-8b:v1", PROD)
    scene.publish("llama3-8b:v2", PROD, seed=2)


def served(scene: Scene) -> None:
    """And a vLLM that wants a folder with weights."""
    prod(scene)
    scene.stand_in("vllm", 'test "$1" = serve\nls "$2"/*.safetensors')


def used(scene: Scene) -> None:
    """A store and two remotes that have been in use for a while."""
    prod(scene)
    scene.configure("nas", "file:///mnt/nas")
    for url in (PROD, "file:///mnt/nas"):
        scene.publish("m:v1", url)
    scene.pull("llama3-8b")


def mirrored(scene: Scene) -> None:
    """Two remotes, and the disks that may be mounted."""
    prod(scene)
    scene.configure("mirror", "file:///mnt/mirror")


def saved(scene: Scene) -> None:
    """A model that BentoML's documentation saves."""
    scene.save("summarization-model")


def summarized(scene: Scene) -> None:
    """And a default remote."""
    saved(scene)
    scene.configure("prod", PROD)


def exportable(scene: Scene) -> None:
    """A model, and a bucket to put it into."""
    scene.configure("prod", PROD)
    scene.save("summarizer:v1")


STAGES: dict[str, Callable[[Scene], None]] = {
    "docs/how-to/air-gapped.md": mirrored,
    "docs/how-to/bentocloud.md": saved,
    "docs/how-to/import-export.md": exportable,
    "docs/how-to/permissions.md": prod,
    "docs/how-to/plain-files.md": mirrored,
    "docs/how-to/repair-and-clean-up.md": used,
    "docs/how-to/services.md": summarized,
    "docs/how-to/vllm.md": served,
}
"""What must have happened before a page can be followed."""

CHECKS = {
    "docs/how-to/transformers.md": """
reference = LlamaForCausalLM.from_pretrained(bentosync.models.get("tiny-llama").path).to(device)
ids = torch.arange(8, device=device)[None]
expected = reference(ids).logits
for model in (llama.eval(), bare):
    assert torch.equal(model(ids).logits, expected)
    assert model.model.embed_tokens.weight.data_ptr() == weights["model.embed_tokens.weight"].data_ptr()
assert (missing, unexpected) == ([], [])
""",
    "README.md": """
assert tensors["layer.weight"].shape == (1024, 1024)
assert (tensors["layer.weight"].numpy() == weights["layer.weight"]).all()
""",
}
"""What is true at the end of a page, in the names of its Python."""


TABS = {"docs/quickstart.md": ("CLI", "Python")}
"""Pages whose tabs are alternatives: each is played by itself. In all others the tabs follow each other."""


@pytest.fixture
def scene(tmp_path: Path, s3_server: S3Server) -> Scene:
    return Scene.make(tmp_path / "machine", s3_server)


READERS = [
    pytest.param(page, tab, id=f"{named(page)} {tab}".rstrip())
    for page in PAGES
    if any(block.is_run for block in blocks(page))
    for tab in TABS.get(named(page), ("",))
]


@pytest.mark.parametrize(("page", "tab"), READERS)
def test_a_page_does_what_it_says(page: Path, tab: str, scene: Scene) -> None:
    STAGES.get(named(page), lambda scene: None)(scene)
    read = [block for block in blocks(page) if not tab or block.tab in ("", tab)]
    scene.play(page, read, check=CHECKS.get(named(page), ""))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_not_run_has_a_language_that_is_text_or_a_reason(page: Path) -> None:
    for block in blocks(page):
        where = f"{named(page)}:{block.line}"
        assert block.language in (*RUN, *TEXT) or block.language.startswith("{"), where
        assert block.is_run or block.language not in RUN or block.what, where
        if page.parent.name not in ("reference", "formats", "adr"):
            assert block.language, f"{where}: a fence without a language could hide a command"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "perf/README.md"])
def test_a_page_outside_the_site_links_to_what_is_there(name: str) -> None:
    page = ROOT / name
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_steps_of_a_pipeline_are_commands_that_are_run() -> None:
    page = blocks(DOCS / "how-to/ci.md")
    (pipeline,) = [yaml.safe_load(block.text) for block in page if block.language == "yaml"]
    steps = [step["run"] for step in pipeline["jobs"]["publish"]["steps"] if "\n" in step.get("run", "")]
    assert len(steps) == 1
    assert {*steps} <= {block.text for block in page if block.is_run}


def test_no_page_of_the_tables_is_gone() -> None:
    assert {*STAGES, *CHECKS} <= {named(page) for page in PAGES}
