#!/usr/bin/env bash
# pnnx converts ONNX files for ncnn, which knows no batch: an input of (1, 16) is given as (16,). Two graphs make the same
# numbers in the same shape, (1, 1, 4, 4), as the file says: one ends with a Reshape to these sizes, the other with a
# convolution of one pixel after it. The output of the first has the batch axis in ncnn, that of the second has not, and
# nothing says which. Who puts a batch axis before every output, as for a convolution, gets five axes from generators
# that end with a Reshape (fully connected ones), and takes right numbers for wrong ones.
#
# Guess before it was run: the batch axis is left out of every output, as of every input. Missed.
# Versions: ncnn 1.0.20261020, pnnx 20261020, onnx 1.23.2, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check ncnn==1.0.20261020 pnnx==20261020 onnx==1.23.2 \
  numpy==2.4.6 2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import subprocess, sys
from pathlib import Path

import numpy as np
import onnx
import pnnx
from onnx import TensorProto, helper, numpy_helper
import ncnn

rng = np.random.default_rng(0)


def model(last):
    """16 numbers -> an image of one channel and 4 x 4 pixels, (1, 1, 4, 4), by two ways of writing its last layer."""
    weight = rng.standard_normal((16, 16)).astype(np.float32)
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1, 1, 4, 4]), "shape")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Reshape", ["h", "shape"], ["map"])]
    if last == "reshape":
        nodes[-1].output[0] = "y"
    else:
        tensors.append(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "k"))
        nodes.append(helper.make_node("Conv", ["map", "k"], ["y"], kernel_shape=[1, 1]))
    graph = helper.make_graph(
        nodes, last, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4])], tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), weight


x = rng.standard_normal((1, 16)).astype(np.float32)
program = getattr(pnnx, "EXEC_PATH", None) or str(Path(sys.executable).with_name("pnnx"))
for last in ("reshape", "convolution"):
    made, weight = model(last)
    onnx.save(made, f"{last}.onnx")
    subprocess.run([program, f"{last}.onnx", "inputshape=[1,16]f32", "fp16=0"], check=True, capture_output=True)
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    assert not net.load_param(f"{last}.ncnn.param") and not net.load_model(f"{last}.ncnn.bin")
    with net.create_extractor() as extractor:
        extractor.input("in0", ncnn.Mat(x[0]).clone())
        _, out = extractor.extract("out0")
    found = np.array(out)
    right = np.allclose(found.reshape(-1), (x @ weight).reshape(-1), atol=1e-5)
    print(f"ONNX says (1, 1, 4, 4); last layer a {last}: ncnn gives {found.shape}, numbers {'right' if right else 'wrong'}")
END
env/bin/python look.py > said.txt
cat said.txt
diff said.txt - <<'END'
ONNX says (1, 1, 4, 4); last layer a reshape: ncnn gives (1, 1, 4, 4), numbers right
ONNX says (1, 1, 4, 4); last layer a convolution: ncnn gives (1, 4, 4), numbers right
END
echo "as found: whether an output of ncnn has its batch axis depends on the last layer"
