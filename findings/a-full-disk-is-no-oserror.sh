#!/usr/bin/env bash
# safetensors writes files from Rust, and tells a disk that is full, a quota or a limit of file size as its own
# SafetensorError, which is no OSError: errno is a number in its words. A program that catches OSError around everything
# that it saves (as one does for open, os.replace, numpy.save) ends in a traceback when the disk is full. The file is not
# synced either: after save_file returns, a loss of power may leave it empty under its final name.
#
# Guess before it was run: OSError with ENOSPC or EFBIG. Missed.
# Versions: safetensors 0.8.0, numpy 2.4.6, Python 3.11, Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages safetensors==0.8.0 \
  numpy==2.4.6 2>pip.log || { cat pip.log; exit 2; }
cat > full.py <<'END'
import resource
import signal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
x = np.zeros(10_000)
try:
    np.save("x.npy", x)
except OSError as error:
    print("numpy:", type(error).__name__, error)
try:
    save_file({"x": x}, "x.safetensors")
except SafetensorError as error:
    print("safetensors:", type(error).__name__, error)
    assert not isinstance(error, OSError)
    assert "os error 27" in str(error)
else:
    raise AssertionError("the file was written beyond the limit")
END
PYTHONPATH=packages "${PYTHON:-python3}" full.py
