#!/usr/bin/env bash
# The GAN of many a tutorial of Keras: compile D; D.trainable = False; put G and D together and compile that; then train
# D alone and both together by turns. It rests on a rule of Keras 2: a model trains what was trainable when it was
# compiled. In Keras 3, under these two backends, the flag at the time of the step counts. The same lines run, D's
# train_on_batch gives a loss, and D never changes: G is trained against the random network that D was at the start.
# Under JAX there is no word; under PyTorch one warning, at the first step, that "the model" has no trainable weights.
# To train D as meant, set the flag before each of the two steps.
#
# Guess before it was run: each model trains what was trainable when it was compiled. Missed.
# Versions: keras 3.15.1, jax and jaxlib 0.10.2, torch 2.13.0 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  keras==3.15.1 jax==0.10.2 jaxlib==0.10.2 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import warnings

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
discriminator = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1, "sigmoid")])
generator = keras.Sequential([keras.Input((3,)), layers.Dense(8, "relu"), layers.Dense(4)])
discriminator.compile("sgd", "binary_crossentropy")
discriminator.trainable = False
z = keras.Input((3,))
both = keras.Model(z, discriminator(generator(z)))
both.compile("sgd", "binary_crossentropy")

rng = np.random.default_rng(0)
x, noise = (rng.normal(size=(32, size)).astype("float32") for size in (4, 3))
ones = np.ones((32, 1), "float32")
start = [model.get_weights() for model in (discriminator, generator)]
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    losses = []
    for _ in range(20):
        losses.append(float(discriminator.train_on_batch(x, ones)))
        both.train_on_batch(noise, ones)
told = any("trainable weights" in str(one.message) for one in said)
end = [model.get_weights() for model in (discriminator, generator)]
moved = [any(not np.array_equal(a, b) for a, b in zip(*pair)) for pair in zip(start, end)]
name = keras.backend.backend()
print(f"{name}: after 20 steps of each D {'has changed' if moved[0] else 'is as at the start'}, "
      f"G {'has changed' if moved[1] else 'is as at the start'}; {'a warning' if told else 'no warning'}")
print(f"{name}: D's loss {'stands still' if max(losses) - min(losses) < 1e-5 else 'moves'}")
END
for backend in torch jax; do
  KERAS_BACKEND=$backend KERAS_HOME=$folder JAX_PLATFORMS=cpu PYTHONPATH=packages "${PYTHON:-python3}" look.py
done > said.txt
cat said.txt
diff said.txt - <<'END'
torch: after 20 steps of each D is as at the start, G has changed; a warning
torch: D's loss stands still
jax: after 20 steps of each D is as at the start, G has changed; no warning
jax: D's loss stands still
END
echo "as found: a discriminator that was frozen after compile() is never trained"
