"""Who we run against: one small class each, with the exact command line or program, and its version.

Every rival gets the settings its manual recommends for many large files where such settings exist, and its defaults
else. Programs are looked for beside `python` (the interpreter of the environment the rivals are installed in) and then
on the PATH; a rival that is not installed, or cannot do a job, is left out by name.

    python -m perf.rivals [--python /path/to/other/env/bin/python]      # who is here, in which version
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from perf.null_server import BUCKET


@dataclass(frozen=True)
class Job:
    """Files to move: `folder` is the local side, `prefix` (ending with `/`) the remote one, in the bucket."""

    folder: Path
    prefix: str
    endpoint_url: str
    tls: bool


@dataclass(frozen=True)
class Command:
    """What to run, and what to add to the environment."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)


class Rival(Protocol):
    """A tool that copies a folder from or to a bucket."""

    name: str

    def version(self) -> str | None:
        """Its version; None if it is not installed."""

    def pull(self, job: Job) -> Command | None:
        """Copy everything below the prefix into the folder; None if it cannot."""

    def push(self, job: Job) -> Command | None:
        """Copy everything in the folder below the prefix; None if it cannot."""


@dataclass(frozen=True)
class Rclone:
    """Go. Four transfers of four streams by default; more of both for many files, as its manual says."""

    python: Path
    name: str = "rclone"

    def version(self) -> str | None:
        return _program_version(self.python, "rclone", "version")

    def pull(self, job: Job) -> Command | None:
        return self._copy(f"null:{BUCKET}/{job.prefix}", str(job.folder))

    def push(self, job: Job) -> Command | None:
        return self._copy(str(job.folder), f"null:{BUCKET}/{job.prefix}")

    def _copy(self, source: str, target: str) -> Command:
        options = ["--transfers=16", "--checkers=16", "--multi-thread-streams=8", "--s3-upload-concurrency=8"]
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "FORCE_PATH_STYLE": "true",
                  "NO_CHECK_BUCKET": "true", "CHUNK_SIZE": "16Mi"}  # fmt: skip
        environment = {f"RCLONE_CONFIG_NULL_{key}": value for key, value in remote.items()}
        return Command(
            [_program(self.python, "rclone"), "copy", "--config=/dev/null", *options, source, target], environment
        )


@dataclass(frozen=True)
class S5cmd:
    """Go. Its defaults: 256 workers, 5 parts of 50 MiB a file."""

    python: Path
    name: str = "s5cmd"

    def version(self) -> str | None:
        return _program_version(self.python, "s5cmd", "version")

    def pull(self, job: Job) -> Command | None:
        return self._copy(job, f"s3://{BUCKET}/{job.prefix}*", f"{job.folder}/")

    def push(self, job: Job) -> Command | None:
        return self._copy(job, f"{job.folder}/", f"s3://{BUCKET}/{job.prefix}")

    def _copy(self, job: Job, source: str, target: str) -> Command:
        program = _program(self.python, "s5cmd")
        return Command([program, "--endpoint-url", job.endpoint_url, "--log", "error", "cp", source, target])


@dataclass(frozen=True)
class AwsCli:
    """Python, s3transfer's classic engine: 10 threads, parts of 8 MiB."""

    python: Path
    name: str = "awscli"

    def version(self) -> str | None:
        return _distribution_version(self.python, "awscli")

    def pull(self, job: Job) -> Command | None:
        return self._copy(job, f"s3://{BUCKET}/{job.prefix}", str(job.folder))

    def push(self, job: Job) -> Command | None:
        return self._copy(job, str(job.folder), f"s3://{BUCKET}/{job.prefix}")

    def _copy(self, job: Job, source: str, target: str) -> Command:
        command = [str(self.python), "-m", "awscli", "--endpoint-url", job.endpoint_url, "s3", "cp", "--recursive"]
        return Command([*command, "--only-show-errors", source, target])


@dataclass(frozen=True)
class Program:
    """A library, used as its documentation shows: a short Python program for each way."""

    python: Path
    name: str
    distribution: str
    pulling: str
    pushing: str
    takes_authority: bool = True

    def version(self) -> str | None:
        return _distribution_version(self.python, self.distribution)

    def pull(self, job: Job) -> Command | None:
        return self._command(self.pulling, job)

    def push(self, job: Job) -> Command | None:
        return self._command(self.pushing, job)

    def _command(self, program: str, job: Job) -> Command | None:
        if job.tls and not self.takes_authority:
            return None
        return Command([str(self.python), "-c", _COMMON + program, str(job.folder), BUCKET, job.prefix])


_COMMON = """
import os, sys
from pathlib import Path
folder, bucket, prefix = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
endpoint = os.environ["AWS_ENDPOINT_URL"]
def place(key):
    path = folder / key[len(prefix):]
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
def local():
    return [(path, prefix + path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file()]
"""

_BOTO3 = """
import boto3
from botocore.config import Config
from concurrent.futures import ThreadPoolExecutor
client = boto3.client("s3", config=Config(max_pool_connections=32, s3={"addressing_style": "path"}))
def listed():
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]
with ThreadPoolExecutor(8) as pool:
    list(pool.map(WORK))
"""
_BOTO3_PULL = _BOTO3.replace("WORK", "lambda key: client.download_file(bucket, key, str(place(key))), listed()")
_BOTO3_PUSH = _BOTO3.replace("WORK", "lambda item: client.upload_file(str(item[0]), bucket, item[1]), local()")

_OBSTORE = """
import asyncio, obstore
from obstore.store import S3Store
store = S3Store(bucket, endpoint=endpoint, virtual_hosted_style_request=False, client_options={"allow_http": True})
gate = asyncio.Semaphore(16)
async def piece(key, start, end, fd):
    async with gate:
        data = await obstore.get_range_async(store, key, start=start, end=end)
        await asyncio.to_thread(os.pwrite, fd, data, start)
async def fetch(entry):
    fd = os.open(place(entry["path"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    step = 16 << 20
    starts = range(0, entry["size"], step)
    await asyncio.gather(*(piece(entry["path"], s, min(s + step, entry["size"]), fd) for s in starts))
    os.close(fd)
async def send(path, key):
    async with gate:
        await obstore.put_async(store, key, path, chunk_size=16 << 20, max_concurrency=8)
async def pull():
    await asyncio.gather(*[fetch(entry) for page in obstore.list(store, prefix) for entry in page])
async def push():
    await asyncio.gather(*[send(path, key) for path, key in local()])
"""

_CRT = """
from concurrent.futures import ThreadPoolExecutor
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client
client = MountpointS3Client("us-east-1", throughput_target_gbps=10.0, part_size=16 << 20, endpoint=endpoint,
                            force_path_style=True)
def pull(key):
    with place(key).open("wb", buffering=0) as file:
        for data in client.get_object(bucket, key):
            file.write(data)
def push(item):
    stream = client.put_object(bucket, item[1])
    with item[0].open("rb", buffering=0) as file:
        while data := file.read(16 << 20):
            stream.write(data)
    stream.close()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(WORK))
"""
_CRT_PULL = _CRT.replace(
    "WORK", "pull, [o.key for page in client.list_objects(bucket, prefix) for o in page.object_info]"
)
_CRT_PUSH = _CRT.replace("WORK", "push, local()")

_AIOBOTOCORE = """
import asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
gate = asyncio.Semaphore(16)
step = 16 << 20
async def piece(client, key, start, end, fd):
    async with gate:
        reply = await client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")
        async with reply["Body"] as body:
            while data := await body.read(1 << 20):
                os.pwrite(fd, data, start)
                start += len(data)
async def fetch(client, key, size):
    fd = os.open(place(key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    await asyncio.gather(*(piece(client, key, s, min(s + step, size), fd) for s in range(0, size, step)))
    os.close(fd)
async def part(client, key, upload, number, path):
    async with gate:
        with path.open("rb") as file:
            file.seek((number - 1) * step)
            data = file.read(step)
        reply = await client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)
        return {"PartNumber": number, "ETag": reply["ETag"]}
async def send(client, path, key):
    size = path.stat().st_size
    if size <= step:
        async with gate:
            await client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return
    upload = (await client.create_multipart_upload(Bucket=bucket, Key=key))["UploadId"]
    parts = await asyncio.gather(*(part(client, key, upload, n + 1, path) for n in range(-(-size // step))))
    await client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
async def pull(client):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    entries = [entry async for page in pages for entry in page.get("Contents", ())]
    await asyncio.gather(*(fetch(client, entry["Key"], entry["Size"]) for entry in entries))
async def push(client):
    await asyncio.gather(*(send(client, path, key) for path, key in local()))
async def main(work):
    config = AioConfig(max_pool_connections=32, s3={"addressing_style": "path"})
    async with get_session().create_client("s3", config=config) as client:
        await work(client)
"""


def everyone(python: Path) -> list[Rival]:
    """Every rival we know, installed or not."""
    return [
        Rclone(python),
        S5cmd(python),
        Program(python, "obstore", "obstore", _OBSTORE + "asyncio.run(pull())", _OBSTORE + "asyncio.run(push())"),
        # The CRT reads the system's authorities only.
        Program(python, "s3torchconnector", "s3torchconnectorclient", _CRT_PULL, _CRT_PUSH, takes_authority=False),
        Program(python, "aiobotocore", "aiobotocore", _AIOBOTOCORE + "asyncio.run(main(pull))",
                _AIOBOTOCORE + "asyncio.run(main(push))"),
        Program(python, "boto3", "boto3", _BOTO3_PULL, _BOTO3_PUSH),
        AwsCli(python),
    ]  # fmt: skip


def installed(python: Path, names: list[str] | None = None) -> dict[str, Rival]:
    """Those that are here, by name; `names` picks some. Raises `SystemExit` for a name nobody has."""
    known = {rival.name: rival for rival in everyone(python)}
    if unknown := set(names or ()) - set(known):
        raise SystemExit(f"no such rival: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return {name: rival for name, rival in known.items() if (not names or name in names) and rival.version()}


def environment() -> Path:
    """The interpreter of the environment that `scripts/install-rivals` made; ours if it made none."""
    made = Path(__file__).parents[1] / ".venv-rivals/bin/python"
    return made if made.exists() else Path(sys.executable)


def _program(python: Path, name: str) -> str:
    return shutil.which(name, path=str(python.parent)) or shutil.which(name) or name


def _program_version(python: Path, name: str, word: str) -> str | None:
    try:
        done = subprocess.run([_program(python, name), word], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()[0].removeprefix(name).strip()


def _distribution_version(python: Path, name: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=environment())
    for rival in everyone(parser.parse_args().python):
        print(f"{rival.name:20}{rival.version() or 'not installed'}")


if __name__ == "__main__":
    main()
