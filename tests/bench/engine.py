"""How fast our engine trains the MLP of the chapter on neural networks, beside PyTorch: `python tests/bench/engine.py [--write]`.

One thread each, in turns, medians of five runs of 100 steps in CPU seconds; float64 and float32. With `--write` the
result goes to nbs/results/nn_engine.json, where the chapter reads it. The chapter promises a ratio above 0.1.
"""
import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[name] = "1"  # before NumPy is imported

import argparse
import json
import platform
import statistics
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from llm_book.autograd import cross_entropy  # noqa: E402
from llm_book.nn import SGD, WindowMLP  # noqa: E402

V, T, D, UNITS, BATCH, STEPS = 96, 8, 16, 128, 128, 100


def ours(dtype: type):
    net = WindowMLP(V, T, D, UNITS, rng=np.random.default_rng(0)).to(dtype)
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
    return optimizer, lambda x, y: cross_entropy(net(x), y), lambda a: a


def theirs(dtype: type):
    net = torch.nn.Sequential(
        torch.nn.Embedding(V, D), torch.nn.Flatten(), torch.nn.Linear(T * D, UNITS), torch.nn.Tanh(), torch.nn.Linear(UNITS, V)
    ).to(torch.float64 if dtype is np.float64 else torch.float32)  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return optimizer, lambda x, y: F.cross_entropy(net(x), y), torch.from_numpy


def cpu_seconds(make, dtype: type) -> float:
    "CPU seconds of STEPS training steps, after ten to warm up."
    optimizer, loss_of, convert = make(dtype)
    rng = np.random.default_rng(0)
    x, y = convert(rng.integers(V, size=(10_000, T))), convert(rng.integers(V, size=10_000))
    for step in range(STEPS + 10):
        if step == 10:
            start = time.process_time()
        rows = convert(rng.integers(len(x), size=BATCH))
        loss = loss_of(x[rows], y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    torch.set_num_threads(1)
    result = {
        "date": date.today().isoformat(),
        "command": "python tests/bench/engine.py --write",
        "machine": f"{platform.system()} {platform.machine()}, one thread, Python {platform.python_version()}",
        "versions": f"numpy {np.__version__}, torch {torch.__version__}",
        "steps": STEPS,
    }
    for dtype, key in ((np.float64, "ratio"), (np.float32, "ratio_float32")):
        pairs = [(cpu_seconds(theirs, dtype), cpu_seconds(ours, dtype)) for _ in range(5)]  # in turns
        torch_s, ours_s = (statistics.median(side) for side in zip(*pairs, strict=True))
        result[key] = round(torch_s / ours_s, 3)
        print(f"{dtype.__name__}: ours {1000 * ours_s / STEPS:.2f} ms a step, PyTorch {1000 * torch_s / STEPS:.2f} ms, ratio {torch_s / ours_s:.2f}")
    if parser.parse_args().write:
        path = ROOT / "nbs" / "results" / "nn_engine.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
