#!/usr/bin/env bash
# "The first nine pictures of seed 0" ought to be the same nine, whether nine are drawn or sixty-four: numbers come from one
# stream. On a CPU torch.randn draws sixteen at a time, and where the count is no multiple of 16 it draws the last sixteen
# anew, over numbers that were there. So of nine inputs of 100 numbers the first eight are those of sixty-four inputs, and
# the ninth is another one in its last 16 numbers. Below 16 numbers in all none is the same. torch.rand and NumPy's
# generators keep their beginning. A sheet of nine that is drawn again among sixty-four, a figure of 10,007 samples that
# is said to hold the 10,000 of before: each has a sample that nobody sees change.
#
# Guess before it was run: more numbers of the same seed begin with the same numbers, as those of torch.rand do. Missed.
# Versions: torch 2.13.0 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import numpy as np
import torch


def drawn(way, *shape):
    return getattr(torch, way)(*shape, generator=torch.Generator().manual_seed(0))


print("PyTorch", torch.__version__.partition("+")[0])
for way in ("randn", "rand"):
    for n, size in ((9, 100), (9, 128), (3, 5)):
        few, many = drawn(way, n, size), drawn(way, 64, size)[:n]
        other = [f"{row} ({int((few[row] != many[row]).sum())} of {size})" for row in range(n) if not few[row].equal(many[row])]
        print(f"{way}, {n} inputs of {size} numbers: {'others are ' + ', '.join(other) if other else 'the same in 64'}")
few, many = (np.random.default_rng(0).standard_normal((n, 100)) for n in (9, 64))
print("NumPy, 9 inputs of 100 numbers:", "the same in 64" if np.array_equal(few, many[:9]) else "others")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
randn, 9 inputs of 100 numbers: others are 8 (16 of 100)
randn, 9 inputs of 128 numbers: the same in 64
randn, 3 inputs of 5 numbers: others are 0 (5 of 5), 1 (5 of 5), 2 (5 of 5)
rand, 9 inputs of 100 numbers: the same in 64
rand, 9 inputs of 128 numbers: the same in 64
rand, 3 inputs of 5 numbers: the same in 64
NumPy, 9 inputs of 100 numbers: the same in 64
END
echo "as found: the last of nine inputs is another one than the ninth of sixty-four"
