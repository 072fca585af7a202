#!/usr/bin/env bash
# A generator that draws noise of its own (StyleGAN's, or a sampler's) has RandomNormal in its ONNX file, a node without
# inputs. Two of five tools that make such files simpler, onnxslim and onnx-graphsurgeon's fold_constants, count as
# constant what hangs on no input: they run the node once and write what it drew into the file. The network they give
# back has one noise for every sample, and no word is said; onnxslim's own check of outputs is off by default. onnxsim,
# onnxoptimizer and onnxscript's optimizer leave the node.
#
# Guess before it was run: all of them know the few random operators of ONNX. Two of five do not.
# Versions: onnx 1.23.2, onnxruntime 1.32.0, onnxslim 0.1.98, onnx-graphsurgeon 0.6.1, onnxsim 0.8.1,
# onnxoptimizer 0.4.2, onnxscript 0.7.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages numpy==2.4.6 onnx==1.23.2 \
  onnxruntime==1.32.0 onnxslim==0.1.98 onnx-graphsurgeon==0.6.1 onnxsim==0.8.1 onnxoptimizer==0.4.2 onnxscript==0.7.2 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import numpy as np
import onnx_graphsurgeon
import onnxoptimizer
import onnxruntime
import onnxscript.optimizer
import onnxsim
import onnxslim
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(3)


def network():
    """x + noise, as a generator adds it."""
    nodes = [helper.make_node("RandomNormal", [], ["noise"], shape=[1, 8]), helper.make_node("Add", ["x", "noise"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
    made = helper.make_model(helper.make_graph(nodes, "network", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def folded(model):
    graph = onnx_graphsurgeon.import_onnx(model)
    return onnx_graphsurgeon.export_onnx(graph.fold_constants().cleanup())


WAYS = {
    "as exported": lambda model: model,
    "onnxslim": onnxslim.slim,
    "onnx-graphsurgeon": folded,
    "onnxsim": lambda model: onnxsim.simplify(model)[0],
    "onnxoptimizer": onnxoptimizer.optimize,
    "onnxscript": onnxscript.optimizer.optimize,
}
for name, way in WAYS.items():
    session = onnxruntime.InferenceSession(way(network()).SerializeToString(), providers=["CPUExecutionProvider"])
    first, second = (session.run(None, {"x": np.zeros((1, 8), np.float32)})[0] for _ in range(2))
    print(f"{name}: {'the same noise for every sample' if np.array_equal(first, second) else 'new noise'}")
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py > said.txt 2> log.txt || { tail -5 log.txt; exit 2; }
cat said.txt
diff said.txt - <<'END'
as exported: new noise
onnxslim: the same noise for every sample
onnx-graphsurgeon: the same noise for every sample
onnxsim: new noise
onnxoptimizer: new noise
onnxscript: new noise
END
echo "as found: two of five tools turn a generator's noise into a constant"
