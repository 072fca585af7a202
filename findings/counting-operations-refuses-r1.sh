#!/usr/bin/env bash
# PyTorch's FlopCounterMode counts the floating-point operations of whatever runs inside it, backward passes included. A
# gradient penalty (R1, R2, WGAN-GP, path lengths) asks for the gradient of a network in its input. Where that input is a
# leaf, as it is in most code (x.detach().requires_grad_()), the counter stops the program: its hooks, which note the
# module at work, ask the engine a question that may not be asked of a leaf inside autograd.grad. The same penalty of
# x * 1, which is no leaf, is counted. So a GAN's step can be counted with one way of writing R1 and not with the other.
#
# Guess before it was run: a counter changes nothing that is computed, and R1 costs about three times a forward pass,
# however it is written. Missed.
# Versions: torch 2.13.0 (CPU), Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

net = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))


def penalised(leaf):
    """D's mean logit with R1, and its gradient in the weights."""
    x = torch.ones(4, 8, requires_grad=True)
    seen = x if leaf else x * 1
    logits = net(seen)
    (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
    (logits.mean() + slope.square().sum()).backward()


def said(leaf):
    try:
        penalised(leaf)
    except RuntimeError as error:
        return f"RuntimeError: {str(error)[:28]} ..."
    return "right"


print("PyTorch", torch.__version__.partition("+")[0])
for leaf, word in ((True, "of a leaf"), (False, "of x * 1")):
    alone = said(leaf)
    with FlopCounterMode(display=False) as counter:
        counted = said(leaf)
    whole = counter.get_total_flops() if counted == "right" else "none"
    print(f"gradient {word}: alone {alone}; counted {counted}; operations: {whole}")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
gradient of a leaf: alone right; counted RuntimeError: A leaf node was passed to _w ...; operations: none
gradient of x * 1: alone right; counted right; operations: 6784
END
echo "as found: the counter of operations stops at a gradient penalty of a leaf"
