"""Draw samples from an exported folder. Needs numpy and the runtime that the folder was exported for (onnxruntime).

python sample.py -n 16 --seed 0 --out samples.png
python sample.py -n 16 --label 3 --out samples.npz
python sample.py -n 100 --out folder
python sample.py --images mine.npy --label blond --out translated.png
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(folder))
    importlib.import_module("sampler.program").main(folder)
