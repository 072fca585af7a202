#!/usr/bin/env bash
# NiceGUI mounted into a FastAPI application (ui.run_with) looks, when the server starts, for the server among all
# objects of the process: isinstance() of everything that the garbage collector tracks. isinstance() asks an object for
# its __class__, and objects that stand in for others answer that by waking up: a lazy loader loads, and PyTorch's
# stand-in for a retired name warns that the name is deprecated, although no code used it. A program that serves a model
# with such a page greets its users with "torch.distributed.reduce_op is deprecated", and pays for every stand-in.
#
# Guess before it was run: starting a web page touches the page's own objects. Missed.
# Versions: nicegui 3.18.0, fastapi 0.165.0, httpx 0.28.1, torch 2.13.0, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  nicegui==3.18.0 fastapi==0.165.0 httpx==0.28.1 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import warnings

import torch.distributed
from fastapi import FastAPI
from fastapi.testclient import TestClient
from nicegui import ui

woken = []


class Stand:
    """Stands in for something that is costly to load, as lazy modules do."""

    def __init__(self):
        self.kept = {}  # an object with contents is tracked by the garbage collector

    def __getattribute__(self, name):
        woken.append(name)
        return object.__getattribute__(self, name)


stand = Stand()
woken.clear()
app = FastAPI()
ui.run_with(app, storage_secret="x")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    before = list(woken)
    with TestClient(app):
        pass
about = [str(one.message) for one in told if "reduce_op" in str(one.message)]
print("before the start the stand-in was asked for", before, "and at the start for", sorted(set(woken)))
print("PyTorch warned:", about)
assert before == []
assert "__class__" in woken
assert about and "deprecated" in about[0]
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py
