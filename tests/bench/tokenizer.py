"""How fast the tokenizer trains and encodes: `python tests/bench/tokenizer.py [train|naive|encode|word] [pattern …]`.

Against Hugging Face's `tokenizers` with the same pattern on the same text, taking turns in one run, medians of 7.
The text is the source of the standard library; for 10 MB that is nearly all of it.
"""
import os
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from llm_book.corpus import load_corpus
from llm_book.tokenizer import PATTERNS, BPETokenizer, byte_merges, n_cores, pre_tokenize

N_TURNS, V = 7, 4096


def some_text(n_bytes: int) -> list[str]:
    "The first documents that make `n_bytes` together."
    documents, total = [], 0
    for text in load_corpus("python-source"):
        if total < n_bytes:
            documents.append(text)
            total += len(text.encode())
    return documents


def theirs(documents: list[str], pattern: str) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    steps = [
        pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=V, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(documents, trainer)


def naive(counts: dict[str, int], n_merges: int) -> list[tuple[bytes, bytes]]:
    "The trainer of the chapter's first half: count everything again for each merge."
    words = {word: [bytes([byte]) for byte in word.encode()] for word in counts}
    merges = []
    for _ in range(n_merges):
        totals = Counter()
        for word, parts in words.items():
            for pair in zip(parts, parts[1:], strict=False):
                totals[pair] += counts[word]
        best = max(totals, key=lambda pair: (totals[pair], pair))
        merges.append(best)
        for parts in words.values():
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == best:
                    parts[at : at + 2] = [parts[at] + parts[at + 1]]
                at += 1
    return merges


def seconds(job, *args) -> float:
    start = time.perf_counter()
    job(*args)
    return time.perf_counter() - start


def bench_train() -> None:
    for n_bytes in (1_000_000, 10_000_000):
        documents = some_text(n_bytes)
        size = sum(len(text.encode()) for text in documents)
        for pattern in [name for name in PATTERNS if name in sys.argv] or PATTERNS:
            times = [
                (seconds(BPETokenizer.train, documents, V, (), pattern), seconds(theirs, documents, pattern))
                for _ in range(N_TURNS)
            ]
            ours, other = (statistics.median(column) for column in zip(*times, strict=True))
            ratio = statistics.median(a / b for a, b in times)
            print(f"{size / 1e6:5.1f} MB {pattern:6} ours {ours:.2f} s, tokenizers {other:.2f} s, ratio {ratio:.2f}", flush=True)


def bench_naive() -> None:
    counts = Counter(word for text in some_text(1_000_000) for word in pre_tokenize(text))
    n_naive, n_merges = 20, V - 256
    fast = statistics.median(seconds(byte_merges, counts, n_merges) for _ in range(N_TURNS))
    slow = statistics.median(seconds(naive, counts, n_naive) for _ in range(5)) / n_naive * n_merges
    assert naive(counts, n_naive) == byte_merges(counts, n_naive)
    print(f"{n_merges} merges: {fast:.3f} s, naive {slow:.0f} s (from {n_naive} merges), {slow / fast:.0f} times as long")


def bench_encode() -> None:
    documents = some_text(10_000_000)
    tokenizer = BPETokenizer.train(documents, V)
    text = "\n".join(documents)
    tokenizer.encode("warm")
    times = [seconds(tokenizer.encode, text) for _ in range(N_TURNS)]
    print(f"encode {len(text.encode()) / 1e6 / statistics.median(times):.1f} MB/s")
    part = text[:1_000_000]
    times = [seconds(lambda: tokenizer.encode(part, by_hand=True)) for _ in range(N_TURNS)]
    print(f"encode by hand {len(part.encode()) / 1e6 / statistics.median(times):.1f} MB/s")


def bench_word() -> None:
    tokenizer = BPETokenizer.train(some_text(1_000_000), V)
    draw = random.Random(0)
    for letters in ("etaoinshrdlu", "a", "ab"):
        word = "".join(draw.choice(letters) for _ in range(100_000))
        times = [seconds(tokenizer.encode, word, (), True) for _ in range(N_TURNS)]
        print(f"a word of 100,000 letters of {letters!r} by hand: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    print(f"{n_cores()} cores, load {os.getloadavg()[0]:.1f}")
    everything = ("train", "naive", "encode", "word")
    for name in [name for name in everything if name in sys.argv] or everything:
        globals()[f"bench_{name}"]()
