#!/usr/bin/env bash
# A program that trains small networks in many short processes (a sweep, a test, a command that takes three seconds)
# chooses eager PyTorch so as not to pay for the compiler. Making any optimizer of torch.optim pays all the same: its
# first parameter group loads torch._dynamo with sympy and some hundred other modules, before a single step, although
# nothing is compiled and torch.compile is never named. It costs more than a second of processor time and tens of
# megabytes that stay. The functions of the same modules (torch.optim.sgd.sgd) step the same numbers and load nothing.
#
# Guess before it was run: the compiler is loaded when something is compiled. Missed.
# Versions: torch 2.13.0 (CPU), Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import resource
import sys
import time

import torch
from torch.optim.sgd import sgd


def loaded():
    return sum(name.partition(".")[0] in ("sympy", "mpmath") or name.startswith("torch._dynamo") for name in sys.modules)


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


print("PyTorch", torch.__version__.partition("+")[0])
net = torch.nn.Linear(4, 1)
net(torch.ones(2, 4)).sum().backward()
parameters = list(net.parameters())
before = [p.detach().clone() for p in parameters]
sgd([p.data for p in parameters], [p.grad for p in parameters], [None, None], weight_decay=0.0, momentum=0.0, lr=0.1,
    dampening=0.0, nesterov=False, maximize=False)
by_function = [p.detach().clone() for p in parameters]
print("a step by the function: modules of the compiler loaded:", loaded())
assert loaded() == 0
for parameter, value in zip(parameters, before):
    parameter.data.copy_(value)
mib, begun = memory(), time.process_time()
optimizer = torch.optim.SGD(parameters, lr=0.1)
spent, taken, count = time.process_time() - begun, memory() - mib, loaded()
print("an optimizer made, no step yet: more than a hundred modules of the compiler are loaded:", count > 100)
print("it took more than 0.3 s of processor time:", spent > 0.3, "and more than 20 MiB:", taken > 20)
assert count > 100 and spent > 0.3 and taken > 20, (count, spent, taken)
optimizer.step()
print("both step to the same numbers:", all(torch.equal(p, q) for p, q in zip(parameters, by_function)))
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
a step by the function: modules of the compiler loaded: 0
an optimizer made, no step yet: more than a hundred modules of the compiler are loaded: True
it took more than 0.3 s of processor time: True and more than 20 MiB: True
both step to the same numbers: True
END
