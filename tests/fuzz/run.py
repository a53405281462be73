"""One fuzzer, guided by coverage: `python -m tests.fuzz.run TARGET CORPUS [LIBFUZZER OPTION...]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bentosync"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].corpus):
        (corpus / f"start-{number}").write_bytes(data)
    atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], TARGETS[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
