#!/usr/bin/env bash
# Whoever wants to know what a training step sends to a GPU can put a TorchDispatchMode around it: it sees every
# operation, also those that autograd makes. Tensors that are made of numbers of Python on the device (torch.tensor with
# device=, x.new_tensor) are the ones that cost most, for the program waits until the number has arrived. The dispatcher
# never hears of them: nothing is noted. A TorchFunctionMode sees both. PyTorch's meta device shows it without a GPU.
#
# Guess before it was run: a dispatch mode sees a copy to the device, _to_copy or copy_, whatever makes it. Missed.
# Versions: torch 2.13.0 (CPU), Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages torch==2.13.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


x, host = torch.empty(4, device="meta"), torch.ones(3)
print("PyTorch", torch.__version__.partition("+")[0])
for name, make in (
    ("host.to(device)", lambda: host.to("meta")),
    ("torch.tensor", lambda: torch.tensor([1.0, 3.0, 3.0, 1.0], device="meta")),
    ("x.new_tensor", lambda: x.new_tensor(-1.0)),
):
    with Functions() as functions, Operations() as operations:
        make()
    print(f"{name}: the dispatcher sees {operations.seen}, the function mode {functions.seen}")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt
cat said.txt
diff said.txt - <<'END'
PyTorch 2.13.0
host.to(device): the dispatcher sees ['_to_copy'], the function mode ['to']
torch.tensor: the dispatcher sees [], the function mode ['tensor']
x.new_tensor: the dispatcher sees [], the function mode ['new_tensor']
END
echo "as found: numbers of Python that are sent to a device pass the dispatcher unseen"
