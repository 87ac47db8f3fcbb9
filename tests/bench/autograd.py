"""What the engine costs against PyTorch: one training step of a character MLP, one thread, alternated: `python tests/bench/autograd.py`.

Prints the median of each, their ratio, and the share that fingerprints take, for float32 and float64 and three batch sizes.
"""
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from llm_book import autograd as ag

V, CONTEXT, D, HIDDEN = 96, 8, 24, 200


def parameters(dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(V, D), (CONTEXT * D, HIDDEN), (HIDDEN,), (HIDDEN, V), (V,)]
    return [(0.05 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def our_step(arrays: list[np.ndarray], ids: np.ndarray, targets: np.ndarray):
    table, w1, b1, w2, b2 = tensors = [ag.Tensor(a.copy(), requires_grad=True) for a in arrays]

    def step() -> float:
        hidden = (table[ids].reshape(len(ids), -1) @ w1 + b1).tanh()
        loss = ag.cross_entropy(hidden @ w2 + b2, targets)
        for p in tensors:
            p.zero_grad()
        loss.backward()
        for p in tensors:
            p.data -= 0.1 * p.grad
        return loss.item()

    return step


def torch_step(arrays: list[np.ndarray], ids: np.ndarray, targets: np.ndarray):
    table, w1, b1, w2, b2 = tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    optimizer = torch.optim.SGD(tensors, lr=0.1)
    ids, targets = torch.tensor(ids), torch.tensor(targets)

    def step() -> float:
        hidden = (table[ids].reshape(len(ids), -1) @ w1 + b1).tanh()
        loss = torch.nn.functional.cross_entropy(hidden @ w2 + b2, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def seconds(step, times: int = 40) -> float:
    start = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - start) / times


def main() -> None:
    torch.set_num_threads(1)
    real, rng = ag.fingerprint, np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        for batch in (16, 64, 256):
            ids, targets = rng.integers(0, V, (batch, CONTEXT)), rng.integers(0, V, batch)
            ours, theirs = (make(parameters(dtype), ids, targets) for make in (our_step, torch_step))
            assert all(abs(ours() - theirs()) < 1e-4 for _ in range(20))  # the same curve; and warm
            measured = {"ours": [], "torch": [], "bare": []}
            for _ in range(9):
                measured["ours"].append(seconds(ours))
                measured["torch"].append(seconds(theirs))
                ag.fingerprint = lambda array: 0.0
                measured["bare"].append(seconds(ours))
                ag.fingerprint = real
            a, b, c = (statistics.median(measured[name]) * 1e6 for name in ("ours", "torch", "bare"))
            print(f"{dtype.__name__} batch {batch:3}: ours {a:5.0f} µs, torch {b:5.0f} µs, speed {b / a:.2f} of torch's; fingerprints {1 - c / a:.0%}")


if __name__ == "__main__":
    main()
