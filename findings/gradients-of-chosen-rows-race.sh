#!/usr/bin/env bash
# The gradient of w[i], where rows are chosen by an index and some are chosen often (the head of a domain, the vector of a
# class), is a sum over all that chose a row. On a CPU with two threads PyTorch adds it up in the order in which threads
# come: the same program, seed and machine give other bits from call to call. index_select and F.embedding of the same
# rows, and w[i] with one thread, give the same bits every time. PyTorch's list of such operations is in the help of
# use_deterministic_algorithms; which spelling of "take these rows" is on it, the spelling does not tell. A run that shall
# go on bit for bit is not compared with itself any more.
#
# Guess before it was run: on a CPU the same call gives the same bits; only GPUs add with atomics. Missed.
# Versions: torch 2.13.0 (CPU), Python 3.11; it takes two cores to see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import hashlib

import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(0)
w = torch.randn(2, 4096, generator=generator, requires_grad=True)
i = torch.randint(0, 2, (256,), generator=generator)
along = torch.randn(256, 4096, generator=generator)
WAYS = {"w[i]": lambda: w[i], "index_select": lambda: w.index_select(0, i), "F.embedding": lambda: F.embedding(i, w)}


def answers(way):
    """How many different gradients a hundred calls give."""
    found = set()
    for _ in range(100):
        (gradient,) = torch.autograd.grad(way(), w, along)
        found.add(hashlib.sha256(gradient.numpy().tobytes()).hexdigest())
    return len(found)


print("PyTorch", torch.__version__.partition("+")[0])
for threads in (1, 2):
    torch.set_num_threads(threads)
    for name, way in WAYS.items():
        print(f"{threads} threads, {name}: {'one answer' if answers(way) == 1 else 'several answers'}")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
1 threads, w[i]: one answer
1 threads, index_select: one answer
1 threads, F.embedding: one answer
2 threads, w[i]: several answers
2 threads, index_select: one answer
2 threads, F.embedding: one answer
END
echo "as found: with two threads the gradient of w[i] differs from call to call"
