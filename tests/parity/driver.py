"""Asks one side, BentoML or bentosync, a list of questions; run as a script by that side's interpreter.

`python driver.py bentoml|bentosync < {"base": …, "asked": [source, …]}` prints what was observed, as JSON. Each
question runs in a forked child, in a copy of the prepared home of its own, so none sees another's traces and the
library is imported once. A question is Python source; the value of its last expression is the answer.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import gc
import hashlib
import importlib
import io
import json
import logging
import os
import re
import shutil
import sys
import tarfile
import traceback
import warnings
import zipfile
from pathlib import Path

BENTO = """\
service: service:Scorer
name: {name}
version: '{version}'
bentoml_version: 1.4.39
creation_time: '2026-11-22T14:14:37.877504+00:00'
labels: {{}}
models: []
entry_service: Scorer
services:
- name: Scorer
  service: ''
  models:
  - tag: {model}
    module: ''
    creation_time: '2026-11-22T14:14:28.621497+00:00'
  dependencies: []
  config: {{}}
envs: []
schema: {{}}
args: {{}}
spec: 2
image:
  base_image: python:3.11-slim
  python_version: '3.11'
  commands: []
  python_requirements: ''
  post_commands: []
  build_include: []
"""

FAMILIES = ("NotFound", "InvalidArgument", "BentoMLException", "ValueError")


def main() -> None:
    side = sys.argv[1]
    request = json.load(sys.stdin)
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    for name in [name for name in os.environ if name.startswith(("BENTOSYNC_", "AWS_", "XDG_"))]:
        del os.environ[name]
    os.environ["COLUMNS"] = "200"
    library, exceptions, group = load(side)
    base = Path(request["base"])
    gc.freeze()
    observed = [
        forked(lambda asked=asked, index=index: observe(side, library, exceptions, group, base, index, asked))
        for index, asked in enumerate(request["asked"])
    ]
    json.dump(observed, sys.stdout)


def load(side):
    if side == "bentoml":
        import bentoml
        import bentoml._internal.bento.bento
        import bentoml.exceptions
        from bentoml_cli.cli import cli

        return bentoml, bentoml.exceptions, cli
    import bentosync
    import bentosync.errors
    import bentosync.formats.bounded_yaml
    import bentosync.models
    from bentosync.cli.commands.models import TABLE
    from bentosync.cli.main import root

    for entry in TABLE.values():
        importlib.import_module(entry.address.partition(":")[0])
    return bentosync, bentosync.errors, root


def forked(work):
    """The JSON value that `work` returns, computed in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        status = 1
        try:
            with os.fdopen(writing, "w") as out:
                json.dump(work(), out)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if status == 0 else {"outcome": ["crash"], "store": {}}


def observe(side, library, exceptions, group, base, index, asked):
    """What came out of one question, and what the store holds afterwards."""
    home, cwd = base / side / f"{index}" / "home", base / side / f"{index}" / "cwd"
    shutil.copytree(base / "home", home, symlinks=True)
    cwd.mkdir()
    os.environ.update(BENTOML_HOME=str(home), HOME=str(cwd))
    os.chdir(cwd)
    logging.disable()
    warnings.simplefilter("ignore")
    scope = helpers(side, library, exceptions, group, home, cwd)
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            outcome = ["value", plain(run(asked, scope))]
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        known = [name for name in FAMILIES if name in kinds]
        outcome = ["error", known or [type(error).__name__], str(error)]

    def same(text):
        text = text.replace(str(home), "{home}").replace(str(cwd), "{cwd}")
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "{time}", text)
        return re.sub(r"\b[a-z2-7]{16}\b", "{version}", text)

    observed = json.loads(same(json.dumps({"outcome": outcome, "store": tree(home / "models", same)})))
    os.chdir(base)
    shutil.rmtree(home.parent)
    return observed


def run(source, scope):
    body = ast.parse(source)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    exec(compile(body, "asked", "exec"), scope)
    return None if last is None else eval(compile(ast.Expression(last.value), "asked", "eval"), scope)


def helpers(side, library, exceptions, group, home, cwd):
    models = library.models

    def create(tag, files=None, **values):
        """A version with these files; what `create` yielded."""
        with models.create(tag, **values) as model:
            for path, data in (files or {}).items():
                Path(model.path_of(path)).parent.mkdir(parents=True, exist_ok=True)
                Path(model.path_of(path)).write_text(data)
        return model

    def cli(*words, input=None):
        """Exit status 0 or not, and stdout without the padding that rich adds."""
        status, out = raw(*words, input=input)
        return [status == 0, [" ".join(line.split()) for line in out.rstrip().splitlines()]]

    def invoked(*words, input=None, columns="200"):
        from click.testing import CliRunner

        return CliRunner(env={"COLUMNS": columns}).invoke(group, ["models", *words], input=input)

    def raw(*words, **how):
        """Exit status and stdout as they are."""
        done = invoked(*words, **how)
        return [done.exit_code, done.stdout]

    def said(*words):
        """What a command that fails says, without the words that each side puts before and after it."""
        told = invoked(*words).stderr
        start = re.search(r"^(Error: (\[models\] `\w+` failed: )?|error\[[A-Z-]+\]: )", told, re.MULTILINE)
        return told[start.end() :].partition("\n  try: ")[0].rstrip()

    def members(path):
        """The files and empty folders that an archive holds, with BentoML's leading `./` taken off."""
        with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else tarfile.open(path) as archive:
            names = archive.namelist() if isinstance(archive, zipfile.ZipFile) else archive.getnames()
        found = {re.sub(r"^\./", "", name).rstrip("/") for name in names} - {"", "."}
        return sorted(name for name in found if not any(other.startswith(f"{name}/") for other in found))

    def accepts(function, *names):
        """Whether a function takes all these arguments by name."""
        import inspect

        known = inspect.signature(function).parameters
        return all(name in known for name in names)

    def raised(action):
        """The text of the error that an action ends with, None if it ends well."""
        try:
            action()
        except Exception as error:
            return str(error)

    def folder(tag, text=None):
        """A version's folder as something else left it, with this model.yaml or none."""
        name, _, version = tag.partition(":")
        path = home / "models" / name / version
        path.mkdir(parents=True)
        if text is not None:
            (path / "model.yaml").write_text(text)

    def bento(tag, model):
        """A local Bento that uses a model."""
        name, _, version = tag.partition(":")
        path = home / "bentos" / name / version
        path.mkdir(parents=True)
        (path / "bento.yaml").write_text(BENTO.format(name=name, version=version, model=model))

    tools = (create, cli, raw, said, members, accepts, raised, folder, bento)
    return {tool.__name__: tool for tool in tools} | {
        "models": models, "Tag": library.Tag, "Model": library.Model, "exceptions": exceptions,
        "home": home, "cwd": cwd, "os": os, "re": re, "json": json, "datetime": datetime, "Path": Path,
    }  # fmt: skip


def plain(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return str(value)


def tree(root, same):
    """Every file below the store's `models` with its digest; model.yaml and the pointers with their text."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            data = path.read_bytes()
            text = name in ("model.yaml", "latest")
            found[same(str(path.relative_to(root)))] = (
                same(data.decode()) if text else hashlib.sha256(data).hexdigest()[:16]
            )
        if not names and not files:
            found[same(str(Path(folder).relative_to(root)))] = None
    return found


if __name__ == "__main__":
    main()
