#!/usr/bin/env bash
# dtaidistance computes dynamic time warping in Python (distance, distance_matrix) and, for the same result, in C (the
# names with _fast). One pair of series of whole numbers is refused by distance_fast, for they are no doubles, and so is
# a matrix of them by distance_matrix_fast. A list of series, which is the way to give series of unequal lengths, is not
# looked at: the bytes of the whole numbers are taken for those of doubles. Counts, sales and levels, read as whole
# numbers, are then all at distance 0 of each other, as any small integer is a double next to zero. Nearest neighbours,
# a search for copies of the training series or a clustering go on with that. No error, no warning.
#
# Guess before it was run: the fast form is right, or refuses. Missed for lists.
# Versions: dtaidistance 2.5.1, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages numpy==2.4.6 \
  dtaidistance==2.5.1 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import numpy as np
from dtaidistance import dtw

rng = np.random.default_rng(0)
counts = [rng.integers(0, 1000, length) for length in (30, 40, 50)]
same = [series[:30] for series in counts]


def told(name, compute):
    try:
        found = compute()
    except ValueError:
        print(f"{name}: refused")
        return
    pairs = found[np.triu_indices(3, 1)] if np.ndim(found) else np.array([found])
    shown = "0" if (pairs < 1e-100).all() else ", ".join(f"{d:.0f}" for d in pairs)
    print(f"{name}: distances of {shown}")


told("one pair, distance", lambda: dtw.distance(counts[0], counts[1]))
told("one pair, distance_fast", lambda: dtw.distance_fast(counts[0], counts[1]))
told("a matrix, distance_matrix_fast", lambda: dtw.distance_matrix_fast(np.stack(same)))
told("a list, distance_matrix", lambda: dtw.distance_matrix(counts))
told("a list, distance_matrix_fast", lambda: dtw.distance_matrix_fast(counts))
told("a list of doubles, distance_matrix_fast", lambda: dtw.distance_matrix_fast([c.astype(float) for c in counts]))
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
one pair, distance: distances of 1189
one pair, distance_fast: refused
a matrix, distance_matrix_fast: refused
a list, distance_matrix: distances of 1189, 1685, 1540
a list, distance_matrix_fast: distances of 0
a list of doubles, distance_matrix_fast: distances of 1189, 1685, 1540
END
echo "as found: a list of whole numbers has no distances in the fast form"
