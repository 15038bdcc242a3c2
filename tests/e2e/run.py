#!/usr/bin/env python3
"""Runs one file of end-to-end tests against the built binary.

    run.py TEST_FILE [pytest arguments]

The environment names what to test: TESSERA_BINARY, TESSERA_SOURCE (the source tree), TESSERA_SANITIZED (1: a sanitizer build).
Exit code 77 means skipped: the test environment is missing (`scripts/setup --tests` makes it).
"""
import importlib.util
import os
import pathlib
import sys

NEEDED = {"pytest": "pytest", "grpc": "grpcio", "grpc_tools": "grpcio-tools", "PIL": "pillow", "numpy": "numpy"}


def main(arguments):
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"SKIPPED: {sys.executable} has no {', '.join(missing)}; `scripts/setup --tests` makes an environment that has")
        return 77
    here = pathlib.Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    sys.dont_write_bytecode = True
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import pytest
    return pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={here}", str(here / arguments[0]), *arguments[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
