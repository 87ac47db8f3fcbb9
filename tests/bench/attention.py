"""Is our layer as fast as PyTorch's? `python tests/bench/attention.py`: forward and backward, one thread, alternated.

Both get the same weights, a causal mask and no dropout, and take their fused path. A ratio below 1 means that ours is faster.
The medians are over `ROUNDS` rounds, in each of which both run once, in turns as to who comes first.
"""
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from llm_book.attention import Attention, causal

ROUNDS = 15
SHAPES = [(16, 64, 128, 4), (8, 256, 384, 6), (4, 512, 768, 12)]  # B, T, D, H
CAUSAL = causal()


def pair(d_model: int, n_heads: int) -> tuple[Attention, nn.MultiheadAttention]:
    "Our layer and PyTorch's, with the same weights."
    ours, theirs = Attention(d_model, n_heads), nn.MultiheadAttention(d_model, n_heads, bias=False, batch_first=True)
    with torch.no_grad():
        for linear, weight in zip((ours.q, ours.k, ours.v), theirs.in_proj_weight.chunk(3), strict=True):
            linear.weight.copy_(weight)
        ours.out.weight.copy_(theirs.out_proj.weight)
    return ours, theirs


def seconds(call: Callable, x: torch.Tensor, grad: torch.Tensor) -> float:
    start = time.perf_counter()
    call(x).backward(grad)
    return time.perf_counter() - start


def compare(batch: int, context: int, d_model: int, n_heads: int) -> float:
    "Print the medians of both, and return ours over theirs."
    torch.manual_seed(0)
    ours, theirs = pair(d_model, n_heads)
    x = torch.randn(batch, context, d_model, requires_grad=True)
    grad = torch.randn(batch, context, d_model)
    hidden = nn.Transformer.generate_square_subsequent_mask(context)
    calls = [
        lambda x: ours(x, mask=CAUSAL),
        lambda x: theirs(x, x, x, attn_mask=hidden, is_causal=True, need_weights=False)[0],
    ]
    torch.testing.assert_close(calls[0](x), calls[1](x), rtol=1e-4, atol=1e-5)
    for call in calls:
        seconds(call, x, grad)  # warm up
    times: list[list[float]] = [[], []]
    for n in range(ROUNDS):
        for which in ((0, 1), (1, 0))[n % 2]:
            times[which].append(seconds(calls[which], x, grad))
    mine, other = (1e3 * statistics.median(t) for t in times)
    print(f"B={batch} T={context} D={d_model} H={n_heads}: ours {mine:.1f} ms, nn.MultiheadAttention {other:.1f} ms, ratio {mine / other:.2f}")
    return mine / other


def main() -> None:
    torch.set_num_threads(1)
    ratios = [compare(*shape) for shape in SHAPES]
    print(f"largest ratio: {max(ratios):.2f}")


if __name__ == "__main__":
    sys.exit(main())
