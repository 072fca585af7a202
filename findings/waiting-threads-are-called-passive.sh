#!/usr/bin/env bash
# The OpenMP library in PyTorch's wheel says of itself, where nobody chose a wait policy, OMP_WAIT_POLICY = 'PASSIVE',
# and means by it that waiting threads turn in place 300,000 times before they sleep. Writing out the very policy that
# it displays changes it: with OMP_WAIT_POLICY=PASSIVE they turn 0 times.
# Beside other programs that is the difference between steps that take as long as on one thread, and several times as
# long; and on an idle machine between full speed and half of it. So neither reading the display nor setting what it
# shows leaves things as they are; GOMP_SPINCOUNT is the word that says what is done.
#
# Guess before it was run: a library that displays a policy does the same when that policy is set. Missed.
# Versions: torch 2.13.0 (its own libgomp), numpy 2.4.6, Python 3.11, Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'END'
import os
import re
import subprocess
import sys


def displayed(**chosen):
    """Return wait policy and number of turns that the library displays when PyTorch is imported."""
    free = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-W", "ignore", "-c", "import torch"]
    shown = subprocess.run(command, env={**free, "OMP_DISPLAY_ENV": "VERBOSE", **chosen}, capture_output=True, text=True)
    found = [re.search(rf"{name} = '(\w+)'", shown.stderr)[1] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")]
    print(chosen or "nothing chosen", "is displayed as", *found)
    return found


assert displayed() == ["PASSIVE", "300000"]
assert displayed(OMP_WAIT_POLICY="PASSIVE") == ["PASSIVE", "0"]
assert displayed(GOMP_SPINCOUNT="4000") == ["PASSIVE", "4000"]
END
