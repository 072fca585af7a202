#!/usr/bin/env bash
# A model of Keras 3 is saved once and runs on PyTorch, JAX or TensorFlow, "the same" but for rounding. Two layers that
# generators and discriminators shrink and grow with are not. UpSampling2D (and Resizing) with bicubic interpolation: on
# PyTorch the cubic has the parameter -0.75, on JAX -0.5, and an edge from 0 to 1 overshoots by 0.105 or 0.07;
# bilinear agrees. AveragePooling2D with padding="same" where the padding has two unequal sides (3 pixels with a stride
# of 2, an even size): JAX averages what is in the picture, PyTorch repeats the outermost pixel and averages that as
# well; 2 pixels with a stride of 2, and 3 with 1, agree. So figures of samples, and a discriminator's scores, change
# with an environment variable. Nothing is said in saving or loading.
#
# Guess before it was run: both agree to 1e-5 in all of these layers. Missed for two of five.
# Versions: keras 3.15.1, jax and jaxlib 0.10.2, torch 2.13.0 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import sys

import keras
import numpy as np
from keras import layers

columns = np.arange(8, dtype="float32")
ramp = np.broadcast_to(columns[:, None], (1, 8, 8, 1))
edge = np.broadcast_to((columns > 3).astype("float32")[:, None], (1, 8, 8, 1))
models = {
    "average of 2, stride 2": (layers.AveragePooling2D(2, 2, "same"), ramp),
    "average of 3, stride 1": (layers.AveragePooling2D(3, 1, "same"), ramp),
    "average of 3, stride 2": (layers.AveragePooling2D(3, 2, "same"), ramp),
    "bilinear": (layers.UpSampling2D(2, interpolation="bilinear"), edge),
    "bicubic": (layers.UpSampling2D(2, interpolation="bicubic"), edge),
}
for name, (layer, x) in models.items():
    path = f"{name}.keras"
    if sys.argv[1] == "save":
        keras.Sequential([keras.Input((8, 8, 1)), layer]).save(path)
    y = keras.ops.convert_to_numpy(keras.models.load_model(path)(np.ascontiguousarray(x)))
    shown = f"largest {y.max():.3f}" if "bicubic" in name else f"last column {y[0, 2, -1, 0]:.3f}"
    print(f"{name}, {keras.backend.backend()}: {shown}")
END
seen() { KERAS_BACKEND=$1 KERAS_HOME=$folder JAX_PLATFORMS=cpu PYTHONPATH=packages "${PYTHON:-python3}" look.py "$2"; }
{ seen torch save; seen jax load; } > said.txt
cat said.txt
diff said.txt - <<'END'
average of 2, stride 2, torch: last column 6.500
average of 3, stride 1, torch: last column 6.500
average of 3, stride 2, torch: last column 6.667
bilinear, torch: last column 1.000
bicubic, torch: largest 1.105
average of 2, stride 2, jax: last column 6.500
average of 3, stride 1, jax: last column 6.500
average of 3, stride 2, jax: last column 6.500
bilinear, jax: last column 1.000
bicubic, jax: largest 1.070
END
echo "as found: one saved model of Keras computes other numbers on PyTorch than on JAX"
