#!/usr/bin/env bash
# Samples of a generator are floats in [-1, 1]. Given a ramp from -1 to 1 as such an array, no two of five loggers of
# images show the same, and none shows the ramp as (x + 1) / 2 without a remark. wandb and swanlab take values for bytes
# and cut: the ramp is black, and stays black when it is brought to [0, 1] first; in wandb -1 comes round to 255, white
# where it should be blackest. tensorboardX multiplies by 255 and comes round: the dark half runs from black to white.
# PyTorch's own SummaryWriter, which has the same function by the same name, cuts the dark half off instead. MLflow alone
# shows a ramp: it stretches each image from its own least to its largest value, with a warning, so that grey samples
# become black and white. None raises an error.
#
# Guess before it was run: all five multiply by 255 and cut at 0. One of five does.
# Versions: wandb 0.31.0, swanlab 0.10.3, tensorboardX 2.6.5, tensorboard 2.21.0 with torch 2.13.0 (CPU),
# mlflow-skinny 3.17.2, numpy 2.4.6, pillow 12.3.0, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  pillow==12.3.0 wandb==0.31.0 swanlab==0.10.3 tensorboardX==2.6.5 tensorboard==2.21.0 mlflow-skinny==3.17.2 \
  sqlalchemy==2.0.51 alembic==1.18.5 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import io
import warnings

import mlflow
import numpy as np
import swanlab
import wandb
from PIL import Image
from tensorboardX.summary import image as of_tensorboardx
from torch.utils.tensorboard.summary import image as of_torch

warnings.simplefilter("ignore")
ramp = np.tile(np.linspace(-1, 1, 9, dtype=np.float32), (8, 1))


def say(name, picture):
    values = np.asarray(picture)
    print(f"{name}: {' '.join(str(value) for value in (values[..., 0] if values.ndim == 3 else values)[0])}")


def logged(summary):
    return Image.open(io.BytesIO(summary.value[0].image.encoded_image_string))


def in_mlflow(picture):
    with mlflow.start_run() as run:
        mlflow.log_image(picture, "ramp.png")
    return Image.open(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="ramp.png"))


mlflow.set_tracking_uri("sqlite:///runs.db")
say("as it should be", np.round((ramp + 1) * 127.5).astype(np.uint8))
say("wandb", wandb.Image(ramp).image)
say("wandb, in [0, 1]", wandb.Image((ramp + 1) / 2).image)
say("swanlab", Image.open(swanlab.Image(ramp).buffer))
say("swanlab, in [0, 1]", Image.open(swanlab.Image((ramp + 1) / 2).buffer))
say("tensorboardX", logged(of_tensorboardx("ramp", ramp, dataformats="HW")))
say("torch", logged(of_torch("ramp", ramp, dataformats="HW")))
say("mlflow", in_mlflow(ramp))
say("mlflow, grey", in_mlflow(ramp / 4))
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt 2> log.txt || { tail -5 log.txt; exit 2; }
cat said.txt
diff said.txt - <<'END'
as it should be: 0 32 64 96 128 159 191 223 255
wandb: 255 0 0 0 0 0 0 0 1
wandb, in [0, 1]: 0 0 0 0 0 0 0 0 1
swanlab: 0 0 0 0 0 0 0 0 1
swanlab, in [0, 1]: 0 0 0 0 0 0 0 0 1
tensorboardX: 1 65 129 193 0 63 127 191 255
torch: 0 0 0 0 0 63 127 191 255
mlflow: 0 31 63 95 127 159 191 223 255
mlflow, grey: 0 31 63 95 127 159 191 223 255
END
echo "as found: five loggers, and no two show the same ramp"
