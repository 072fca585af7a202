#!/usr/bin/env bash
# Samples of a GAN are drawn from the moving average of its generator, and where that has BatchNorm the buffers are to
# be averaged, too: AveragedModel(use_buffers=True) of PyTorch, and ema-pytorch without being asked. Spectral
# normalization (SNGAN, SAGAN, BigGAN) keeps two unit vectors as buffers. They turn while training goes on; the average
# of unit vectors that turned is shorter than 1; the norm that is estimated with them (u W v) is too small by both
# lengths; and the weights that are divided by it are too large. Here the network's own weights have norm 1 and the
# averaged ones up to 5, their error is more than a hundred times that of the average without buffers (which takes the
# vectors of the last step). Nothing warns, for shapes and keys are right; fewer steps in the average make it milder,
# and no less silent.
#
# Guess before it was run: each kind of average has weights of norm 1 within 2%. Missed: two of three do not.
# Versions: torch 2.13.0 (CPU), ema-pytorch 0.8.3, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  ema-pytorch==0.8.3 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import torch
from ema_pytorch import EMA
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(spectral_norm(nn.Linear(16, 64)), nn.ReLU(), spectral_norm(nn.Linear(64, 16)))
half = get_ema_multi_avg_fn(0.999)
parameters, buffers = AveragedModel(net, multi_avg_fn=half), AveragedModel(net, multi_avg_fn=half, use_buffers=True)
package = EMA(net, beta=0.999, update_after_step=0, update_every=1)
optimizer = torch.optim.Adam(net.parameters(), 2e-4, betas=(0.0, 0.99))
target = torch.randn(16, 16) / 8
for _ in range(2000):
    x = torch.randn(64, 16)
    loss = (net(x) - x @ target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    parameters.update_parameters(net)
    buffers.update_parameters(net)
    package.update()

x = torch.randn(1024, 16)
print("PyTorch", torch.__version__.partition("+")[0])
found = {
    "the network itself": net,
    "AveragedModel": parameters.module,
    "AveragedModel, use_buffers=True": buffers.module,
    "ema-pytorch": package.ema_model,
}
errors = {}
with torch.inference_mode():
    for name, one in found.items():
        one.eval()
        norm = max(torch.linalg.matrix_norm(one[layer].weight, 2).item() for layer in (0, 2))
        length = min(vector.norm().item() for vector in one.buffers())
        errors[name] = (one(x) - x @ target).square().mean().item()
        size = "1" if norm < 1.1 else "more than 2" if norm > 2 else "more than 1.2" if norm > 1.2 else "something else"
        print(f"{name}: norm {size}, {'unit vectors' if length > 0.999 else 'short vectors'}")
ratio = errors["AveragedModel, use_buffers=True"] / errors["AveragedModel"]
print("error with averaged buffers:", "more than a hundred times as large" if ratio > 100 else "like without")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
the network itself: norm 1, unit vectors
AveragedModel: norm 1, unit vectors
AveragedModel, use_buffers=True: norm more than 2, short vectors
ema-pytorch: norm more than 1.2, short vectors
error with averaged buffers: more than a hundred times as large
END
echo "as found: averages of spectrally normalized networks have norms far above 1"
