#!/usr/bin/env bash
# PyTorch counts the changes that are made to a tensor in place (_version), and a backward pass that needs a tensor that
# was changed since stops with "modified by an inplace operation". The fused optimizers change parameters in place and do
# not count: SGD, Adam, AdamW and Adagrad with fused=True leave the version as it was, where the other two forms of each
# (foreach=True, and the plain loop) raise it. A loss that is differentiated after the step (two players with one graph,
# a step taken too early) is an error with those, and with fused=True a gradient through the new weights, without a word.
# Whatever a program keeps of a weight by its version (a cast, a packed form) is also taken for that of the new one.
#
# Guess before it was run: a form of an optimizer changes its speed, and its rounding at most. Missed.
# Versions: torch 2.13.0 (CPU), Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import torch

FORMS = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def after_a_step(kind, form):
    """How much a step raises the version, and the gradient in x of w x^2 that is asked for after it."""
    w = torch.nn.Parameter(torch.tensor([2.0]))
    x = torch.tensor([3.0], requires_grad=True)
    loss = (w * x * x).sum()  # its gradient is 2 w x = 12
    optimizer = kind([w], lr=0.5, **FORMS[form])
    w.grad = torch.ones(1)
    before = w._version
    optimizer.step()
    assert w.item() < 2
    try:
        (found,) = torch.autograd.grad(loss, x)
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        return w._version - before, "an error"
    return w._version - before, round(found.item(), 3)


print("PyTorch", torch.__version__.partition("+")[0])
for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad):
    for form in FORMS:
        raised, found = after_a_step(kind, form)
        print(f"{kind.__name__}, {form}: version raised: {raised > 0}; gradient, 12 before the step: {found}")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
SGD, plain: version raised: True; gradient, 12 before the step: an error
SGD, foreach: version raised: True; gradient, 12 before the step: an error
SGD, fused: version raised: False; gradient, 12 before the step: 10.5
Adam, plain: version raised: True; gradient, 12 before the step: an error
Adam, foreach: version raised: True; gradient, 12 before the step: an error
Adam, fused: version raised: False; gradient, 12 before the step: 10.5
AdamW, plain: version raised: True; gradient, 12 before the step: an error
AdamW, foreach: version raised: True; gradient, 12 before the step: an error
AdamW, fused: version raised: False; gradient, 12 before the step: 10.47
Adagrad, plain: version raised: True; gradient, 12 before the step: an error
Adagrad, foreach: version raised: True; gradient, 12 before the step: an error
Adagrad, fused: version raised: False; gradient, 12 before the step: 10.5
END
