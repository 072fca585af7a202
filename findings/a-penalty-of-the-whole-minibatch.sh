#!/usr/bin/env bash
# The gradient penalty of WGAN-GP (Gulrajani et al. 2017, equation 3) asks of each sample that the critic's gradient has
# norm 1: (norm - 1)^2, and the mean of that over a minibatch. DGAN of gretel-synthetics (DoppelGANger in PyTorch) adds
# the squares of all samples up before it takes the root, so that it asks one norm of the whole minibatch to be 1. Of a
# critic that is right everywhere the penalty is (sqrt(n) - 1)^2 for n samples, not 0: at its default of 1,024 samples
# 961, times 10. Training then makes the critic sqrt(n) times as flat as the paper's, 32 times, and how flat depends on
# the size of the minibatch. Nothing is said, losses fall.
#
# Guess before it was run: a linear critic with a gradient of norm 1 has the penalty 0, whatever the minibatch. Missed.
# Versions: gretel-synthetics 0.22.20, torch 2.13.0 (CPU), category-encoders 2.11.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python=${PYTHON:-python3}
"$python" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  category-encoders==2.11.2 2>pip.log || { cat pip.log; exit 2; }
# What it asks for (numpy below 1.24, sdv) its DGAN does not use.
"$python" -m pip install --quiet --disable-pip-version-check --target gretel --no-deps gretel-synthetics==0.22.20 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import warnings

import torch

warnings.simplefilter("ignore")
from gretel_synthetics.timeseries_dgan.config import DGANConfig, OutputType
from gretel_synthetics.timeseries_dgan.dgan import DGAN

torch.manual_seed(0)
settings = {"apply_example_scaling": False, "use_attribute_discriminator": False, "epochs": 1, "cuda": False}
dgan = DGAN(DGANConfig(max_sequence_len=4, sample_len=2, batch_size=16, **settings))
dgan.train_numpy(torch.rand(32, 4, 1).numpy(), [OutputType.CONTINUOUS])
direction = torch.full((4, 1), 0.5)


def critic(batch):
    """A linear critic: its gradient in a sample is the direction, of norm 1."""
    return batch[-1].flatten(1) @ direction


def batch(n):
    """Two parts that are not there, as it marks them, and windows."""
    absent = torch.full((n, 1), torch.nan)
    return [absent, absent, torch.rand(n, 4, 1)]


for n in (1, 16, 1024):
    print(f"{n} samples: penalty {dgan._get_gradient_penalty(batch(n), batch(n), critic).item():.2f}, right is 0.00")
END
PYTHONPATH=packages:gretel "$python" look.py > said.txt 2> log.txt || { tail -5 log.txt; exit 2; }
cat said.txt
diff said.txt - <<'END'
1 samples: penalty 0.00, right is 0.00
16 samples: penalty 9.00, right is 0.00
1024 samples: penalty 961.00, right is 0.00
END
echo "as found: the penalty is of the minibatch, not of its samples"
