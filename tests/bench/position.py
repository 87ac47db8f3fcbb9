"""Turning queries and keys, forward and backward, against transformers' Llama: `python tests/bench/position.py`.

Both get their cosines and sines ready-made, as once per forward pass. Alternated in one run, medians of 15.
"""
import statistics
import time

import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from llm_book.position import apply_rope, cos_sin, frequencies

SHAPES = [(4, 4, 64, 32), (2, 6, 256, 64), (1, 12, 1024, 64)]  # (B, H, T, Dh)


def seconds(turn, q: torch.Tensor, grad: torch.Tensor, repeat: int = 5) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        turned = turn(q)
        torch.autograd.backward(turned, [grad] * len(turned))
    return (time.perf_counter() - start) / repeat


def main() -> None:
    torch.set_num_threads(1)
    for shape in SHAPES:
        q = torch.randn(shape, requires_grad=True)
        cos, sin = cos_sin(torch.arange(shape[2]), frequencies(shape[3]))
        wide = [torch.cat([x, x], dim=-1)[None] for x in (cos, sin)]
        ways = {
            "transformers": lambda x, wide=wide: apply_rotary_pos_emb(x, x, *wide),
            "half": lambda x, cos=cos, sin=sin: [apply_rope(x, cos, sin) for _ in range(2)],
            "interleaved": lambda x, cos=cos, sin=sin: [apply_rope(x, cos, sin, "interleaved") for _ in range(2)],
        }
        grad, times = torch.randn(shape), {name: [] for name in ways}
        for _ in range(15):
            for name, turn in ways.items():
                times[name].append(seconds(turn, q, grad))
        medians = {name: statistics.median(found) for name, found in times.items()}
        theirs = medians.pop("transformers")
        print(shape, ", ".join(f"{name}: {median / theirs:.2f} of transformers' time" for name, median in medians.items()))


if __name__ == "__main__":
    main()
