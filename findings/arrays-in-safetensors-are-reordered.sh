#!/usr/bin/env bash
# Weights that come from elsewhere reach safetensors as NumPy arrays, and on the way their axes are turned: Keras keeps the
# kernels of a convolution as (height, width, in, out), PyTorch as (out, in, height, width). safetensors.numpy.save writes
# the memory of a turned array as it lies, under its new shape: a file that is valid, of the right shapes and types, whose
# numbers stand in other places. No error, no warning, and the generator makes noise. So do columns of a matrix, every
# second row, and the Fortran-ordered components of a PCA. safetensors 0.7.0 wrote the same arrays right; the same tensors
# given to safetensors.torch are refused.
#
# Guess before it was run: a writer of weights refuses what does not lie in order, as it does for PyTorch. Missed.
# Versions: safetensors 0.8.0 and 0.7.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > look.py <<'END'
import numpy as np
import safetensors
from safetensors.numpy import load, save

kernel = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
components = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
ways = {
    "as it is": kernel,
    "a kernel of Keras, turned": kernel.transpose(3, 2, 0, 1),
    "the same, copied into order": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)),
    "a matrix in Fortran's order": components,
    "every second row": kernel[::2],
}
for name, array in ways.items():
    found = load(save({"w": array}))["w"]
    word = "comes back" if np.array_equal(found, array) else "comes back in another order"
    print(f"{safetensors.__version__}, {name}: {word}, shape {'kept' if found.shape == array.shape else 'lost'}")
END
for version in 0.7.0 0.8.0; do
  "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "packages-$version" \
    "safetensors==$version" numpy==2.4.6 2>pip.log || { cat pip.log; exit 2; }
  PYTHONPATH="packages-$version" "${PYTHON:-python3}" look.py
done > said.txt
cat said.txt
diff said.txt - <<'END'
0.7.0, as it is: comes back, shape kept
0.7.0, a kernel of Keras, turned: comes back, shape kept
0.7.0, the same, copied into order: comes back, shape kept
0.7.0, a matrix in Fortran's order: comes back, shape kept
0.7.0, every second row: comes back, shape kept
0.8.0, as it is: comes back, shape kept
0.8.0, a kernel of Keras, turned: comes back in another order, shape kept
0.8.0, the same, copied into order: comes back, shape kept
0.8.0, a matrix in Fortran's order: comes back in another order, shape kept
0.8.0, every second row: comes back in another order, shape kept
END
echo "as found: safetensors 0.8.0 writes a turned array in another order, 0.7.0 did not"
