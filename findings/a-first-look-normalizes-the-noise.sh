#!/usr/bin/env bash
# Glow (Kingma and Dhariwal 2018) sets each ActNorm by the first minibatch of data, so that what comes out of it has
# mean 0 and variance 1: deep flows do not train without. ActNorm of normflows sets itself by the first minibatch that
# comes through it in either direction. Who draws samples before training (a look at step 0, a test of shapes, a summary
# of the model) has it set by the noise of the prior, once and for all; the data that come later are not normalized. Of
# data of mean 20 and deviation 7 the first normalization leaves mean 18 to 20 and deviation 6 to 7, and the same flow
# without the look 0 and 1. nflows sets its ActNorm by data only. No word is said, and the state says that it has been
# set.
#
# Guess before it was run: samples leave the setting to the first minibatch of data. Missed in normflows.
# Versions: normflows 1.7.3, nflows 0.14, torch 2.13.0 (CPU), numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  normflows==1.7.3 nflows==0.14 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import normflows
import torch
from nflows.transforms import ActNorm

torch.manual_seed(0)
data = torch.randn(1000, 3) * 7 + 20


def flow():
    layer = normflows.flows.ActNorm(3)
    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(3), [layer]), layer


def told(name, z):
    normal = bool((z.mean(0).abs() < 0.01).all() and ((z.std(0) - 1).abs() < 0.01).all())
    far = bool((z.mean(0) > 15).all() and (z.std(0) > 5).all())
    print(f"{name}: the data are {'normalized' if normal else 'as they were' if far else 'something else'}")


with torch.no_grad():
    one, layer = flow()
    one.log_prob(data)
    told("normflows, data first", layer.inverse(data)[0])
    one, layer = flow()
    one.sample(100)
    one.log_prob(data)
    told("normflows, samples first", layer.inverse(data)[0])
    layer = ActNorm(3)
    layer.inverse(torch.randn(100, 3))
    told("nflows, samples first", layer(data)[0])
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
normflows, data first: the data are normalized
normflows, samples first: the data are as they were
nflows, samples first: the data are normalized
END
echo "as found: samples before training take the data's normalization away"
