"""How fast n-grams are counted and scored, and text is coded: `python tests/bench/ngrams.py`.

The peer of counting is a dictionary of counters, which most people would write; of `log_probs`, one `predict` per
position. CPU seconds, medians of five, the two alternated.
"""
import os
import statistics
import time
from collections import Counter, defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")

from llm_book.corpus import load_corpus, without
from llm_book.information import NGram, decode, encode, loss_ladder


def with_dictionaries(data: bytes, order: int) -> list[dict]:
    "Count what follows each context of up to order − 1 bytes; nothing more."
    tables = []
    for k in range(order):
        followers = defaultdict(Counter)
        for t in range(k, len(data)):
            followers[data[t - k : t]][data[t]] += 1
        tables.append(followers)
    return tables


def compare(what: str, **rivals) -> None:
    "Run all rivals in turn, five times, and print medians and ratios to the first."
    times = {name: [] for name in rivals}
    for _ in range(5):
        for name, run in rivals.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    print(what + ":", ", ".join(f"{name} {s:.3f} s (×{s / first:.1f})" for name, s in medians.items()))


def main() -> None:
    docs = load_corpus("python-docs")
    train, test = docs.split(0.1)
    test = without(test, train).text.encode()
    whole = docs.text.encode()
    print(f"{len(whole):,} bytes counted, {len(test):,} scored")
    compare(
        "5-grams of the whole manual",
        kneser_ney=lambda: NGram(5).fit(whole),
        modified=lambda: NGram(5, "modified-kneser-ney").fit(whole),
        dictionaries_counts_only=lambda: with_dictionaries(whole, 5),
    )
    model = NGram(5).fit(train.text.encode())
    compare(
        "scoring the held-out text",
        log_probs=lambda: model.log_probs(test),
        predict=lambda: [model.predict(test[:t]) for t in range(len(test))],
    )
    code = encode(test[:5000], model.predict)
    compare(
        "coding 5,000 bytes",
        encode=lambda: encode(test[:5000], model.predict),
        decode=lambda: decode(code, model.predict, 5000),
    )
    compare("the whole ladder", loss_ladder=lambda: loss_ladder(train.text.encode(), test))


if __name__ == "__main__":
    main()
