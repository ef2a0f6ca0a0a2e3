"""Exits with 0 when every NAME==VERSION of a requirements file is installed in that version."""

import importlib.metadata
import sys


def met(line):
    name, version = line.split("==")
    try:
        return importlib.metadata.version(name).split("+")[0] == version
    except importlib.metadata.PackageNotFoundError:
        return False


sys.exit(0 if all(met(line.strip()) for line in open(sys.argv[1]) if "==" in line) else 1)
