"""What a batch costs beside a training step of `overview.TinyGPT`: `python tests/bench/loading.py`.

Alternates both in one run on one thread: medians of batches and of steps, and the share. The shards lie in a file of
64 MB in the page cache, as data does that a run has begun to read. Also what random windows cost from `Mixture` and `Packed`.
"""
import statistics
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

from llm_book.data import Loader, Mixture, Packed, Windows, write_shards
from llm_book.overview import TinyGPT

ROWS, CONTEXT, V = 16, 64, 257


def seconds(call, *args):
    start = time.perf_counter()
    result = call(*args)
    return time.perf_counter() - start, result


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = TinyGPT(V, context=CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(inputs, targets, *_):
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        texts = (rng.integers(0, 256, size=4000) for _ in range(8000))
        shards = write_shards(map(str, range(8000)), folder, lambda _: next(texts), V, bos=256)
        windows = Windows(shards, CONTEXT)
        loaders = {
            "Windows": Loader(windows, ROWS),
            "Mixture of three": Loader(Mixture([windows] * 3, [5, 3, 2], 10**6), ROWS, shuffle=False),
            "Packed, best-fit": Loader(Packed(shards, CONTEXT), ROWS),
        }
        for name, loader in loaders.items():
            shares, loads, steps = [], [], []
            for k in range(5 * 20):
                load_s, batch = seconds(loader.__getitem__, 1000 + k)
                step_s, _ = seconds(step, *batch)
                loads.append(load_s)
                steps.append(step_s)
            for part in range(0, 100, 20):
                shares.append(statistics.median(loads[part : part + 20]) / statistics.median(steps[part : part + 20]))
            print(
                f"{name:18} batch {1e6 * statistics.median(loads):6.0f} µs, step {1e3 * statistics.median(steps):6.1f} ms, "
                f"loading is {statistics.median(shares):.2%} of a step"
            )


if __name__ == "__main__":
    main()
