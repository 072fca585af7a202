#!/usr/bin/env bash
# Layers of Keras that draw (Dropout, GaussianNoise, random flips, the sampling of a VAE) each hold a SeedGenerator, a
# variable of the model that counts what was drawn; a model with such a seed draws the same from start to end. It is a
# variable that is listed (model.variables), and is not saved: neither save() nor save_weights() nor BackupAndRestore
# writes it. A model that is loaded draws again what it drew first. A training that was interrupted goes on with the
# weights and the optimizer of step n, and with the masks and the noise of step 0, so it is not the training that was
# not interrupted; samples drawn in two sessions from one saved model are the same samples twice.
#
# Guess before it was run: the loaded model goes on with the next numbers, as the optimizer does with its step. Missed.
# Versions: keras 3.15.1 with torch 2.13.0 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  keras==3.15.1 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import keras
import numpy as np


def made():
    last = keras.layers.Dense(2, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), keras.layers.GaussianNoise(1.0, seed=1), last])
    last.set_weights([np.eye(2, dtype="float32")])
    model.compile(keras.optimizers.Adam(0.0), "mse")
    return model


zeros = np.zeros((1, 2), "float32")


def drawn(model):
    return keras.ops.convert_to_numpy(model(zeros, training=True)).tobytes()


model = made()
print("variables:", ", ".join(sorted(v.path.split("/")[-1] for v in model.variables)))
print("weights:", ", ".join(sorted(v.path.split("/")[-1] for v in model.weights)))
draws = [drawn(model) for _ in range(3)]
model.train_on_batch(zeros, zeros)
print("three draws:", "different" if len(set(draws)) == 3 else "the same")
model.save("whole.keras")
model.save_weights("some.weights.h5")
whole = keras.models.load_model("whole.keras")
some = made()
some.load_weights("some.weights.h5")
print("the optimizer of the loaded model goes on at step", int(whole.optimizer.iterations))
after = drawn(model)
for name, loaded in (("load_model", whole), ("load_weights", some)):
    now = drawn(loaded)
    which = "the first one again" if now == draws[0] else "the next" if now == after else "another"
    print(f"{name}: the next draw is {which}")


class Watch(keras.layers.Layer):
    def build(self, shape):
        self.noise = keras.random.SeedGenerator(1)

    def call(self, x):
        noise = keras.random.normal(keras.ops.shape(x), seed=self.noise)
        seen.append(keras.ops.convert_to_numpy(noise).tobytes())
        return x + noise


def training(epochs):
    model = keras.Sequential([keras.Input((2,)), Watch(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    seen.clear()
    stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 / (epochs - epoch))
    back = keras.callbacks.BackupAndRestore("backup", delete_checkpoint=True)
    try:
        model.fit(zeros, zeros, epochs=4, verbose=0, callbacks=[back, stop])
    except ZeroDivisionError:
        pass
    return list(seen)


seen = []
through = training(9)[-4:]
first = training(2)[-2:]
then = training(9)[-2:]
print("BackupAndRestore, first two epochs as without a stop:", first == through[:2])
print("BackupAndRestore, last two epochs as without a stop:", then == through[2:])
print("BackupAndRestore, last two epochs repeat the first two:", then == first)
END
KERAS_BACKEND=torch KERAS_HOME=$folder PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
variables: kernel, seed_generator_state
weights: kernel
three draws: different
the optimizer of the loaded model goes on at step 1
load_model: the next draw is the first one again
load_weights: the next draw is the first one again
BackupAndRestore, first two epochs as without a stop: True
BackupAndRestore, last two epochs as without a stop: False
BackupAndRestore, last two epochs repeat the first two: True
END
echo "as found: what is loaded draws the noise of the beginning"
