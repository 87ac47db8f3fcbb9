"""The chapter `information`, beyond what it proves itself: n-grams against a naive implementation that shares no code
with them, and the arithmetic coder on whatever hypothesis can think of."""
import bz2
import inspect
import lzma
import math
import random
import zlib
from collections import defaultdict
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_book.corpus import load_corpus, without
from llm_book.information import (
    Interval,
    NGram,
    add_one,
    bits_per_byte,
    cross_entropy,
    decode,
    decompress_noise,
    discounts,
    encode,
    entropy,
    kl_divergence,
    loss_ladder,
    mutual_information,
    perplexity,
    quantize,
)

SMOOTHINGS = ("mle", "add", "kneser-ney", "modified-kneser-ney")
tokens = st.integers(2, 6).flatmap(lambda V: st.tuples(st.just(V), st.lists(st.integers(0, V - 1), min_size=5, max_size=60)))


@pytest.fixture(scope="module")
def sides():
    train, test = load_corpus("python-docs").split(0.1)
    return train.text.encode(), without(test, train).text.encode()


# n-grams, once more, with dictionaries and recursion


def naive(ids: list[int], order: int, smoothing: str, V: int, alpha: float):
    "Return a function (prefix, token) → probability, written from the equations alone."
    ids = tuple(ids)
    grams = {k: [ids[t : t + k] for t in range(len(ids) - k + 1)] for k in range(1, order + 2)}

    @lru_cache(None)
    def table(k):
        counts = defaultdict(int)
        if smoothing.endswith("kneser-ney") and k < order:
            for gram in {("start", *ids[:k]), *grams[k + 1]}:
                counts[gram[1:]] += 1
        else:
            for gram in grams[k]:
                counts[gram] += 1
        return counts

    @lru_cache(None)
    def discount(k, c):
        n = [sum(times == i for times in table(k).values()) for i in range(5)]
        D = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        if smoothing == "kneser-ney":
            return D
        c = min(c, 3)
        own = c - (c + 1) * D * n[c + 1] / n[c] if n[c] else D
        return own if 0 < own <= c else D

    def p(context, w):
        k, counts = len(context) + 1, table(len(context) + 1)
        row = {v: counts[(*context, v)] for v in range(V) if (*context, v) in counts}
        total = sum(row.values())
        if not smoothing.endswith("kneser-ney"):
            extra = alpha if smoothing == "add" else 0
            return (row.get(w, 0) + extra) / (total + extra * V) if total else 1 / V
        lower = p(context[1:], w) if context else 1 / V
        if not total:
            return lower
        saved = sum(discount(k, c) for c in row.values())
        return (row[w] - discount(k, row[w]) if w in row else 0) / total + saved / total * lower

    return lambda prefix, w: p(tuple(prefix[max(0, len(prefix) - order + 1) :]), w)


@settings(max_examples=60, deadline=None)
@given(tokens, st.integers(1, 4), st.sampled_from(SMOOTHINGS), st.lists(st.integers(0, 1), max_size=6), st.sampled_from([0.01, 1.0, 3.0]))
def test_ngrams_agree_with_a_naive_implementation(case, order, smoothing, prefix, alpha):
    V, ids = case
    model, p = NGram(order, smoothing, V, alpha).fit(ids), naive(ids, order, smoothing, V, alpha)
    for text in (prefix, ids, ids[:3] + prefix):
        ours = model.predict(text)
        np.testing.assert_allclose(ours, [p(text, w) for w in range(V)], rtol=1e-9, atol=1e-12)
        assert abs(ours.sum() - 1) < 1e-9
    for text in (ids, ids[:3] + prefix + ids[::-1]):  # also what was never seen
        with np.errstate(divide="ignore"):
            slow = np.log([model.predict(text[:t])[w] for t, w in enumerate(text)])
        assert (model.log_probs(text) == slow).all()


def test_kneser_ney_of_real_text_agrees_with_the_naive_one(sides):
    train = list(sides[0][:3000])
    for smoothing in ("kneser-ney", "modified-kneser-ney"):
        model, p = NGram(4, smoothing).fit(train), naive(train, 4, smoothing, 256, 1.0)
        ours = np.exp(model.log_probs(train[1000:1100]))
        np.testing.assert_allclose(ours, [p(train[1000:t], train[t]) for t in range(1000, 1100)], rtol=1e-9)


def test_distributions_of_the_whole_manual_add_up_to_one(sides):
    train, test = sides
    rng = random.Random(0)
    contexts = [test[t : t + 6] for t in (rng.randrange(len(test)) for _ in range(60))] + [rng.randbytes(6) for _ in range(20)]
    for smoothing in SMOOTHINGS:
        model = NGram(5, smoothing, alpha=0.01).fit(train)
        for prefix in contexts:
            p = model.predict(prefix)
            assert p.dtype == np.float64 and p.shape == (256,)
            assert abs(p.sum() - 1) < 1e-12 and p.min() >= 0 and (smoothing == "mle" or p.min() > 0)


def test_maximum_likelihood_is_the_best_for_its_own_text_and_infinite_for_others(sides):
    train, test = sides
    scores = {s: NGram(3, s, alpha=0.1).fit(train).log_probs(train).mean() for s in SMOOTHINGS}
    assert max(scores, key=scores.get) == "mle"
    assert NGram(3, "mle").fit(train).bits_per_byte(test, len(test)) == math.inf


def test_all_kinds_of_ids_are_the_same_text():
    text = b"abracadabra"
    models = [NGram(3).fit(ids) for ids in (text, bytearray(text), list(text), np.frombuffer(text, np.uint8), np.array(list(text), np.int32))]
    assert all((model.predict(text[:2]) == models[0].predict(list(text[:2]))).all() for model in models)


def test_size_of_the_tables_by_hand():
    model = NGram(2, vocab_size=5).fit([0, 1, 4, 0, 2, 0, 3, 0, 1, 4, 0])  # 5 letters after 1 context, 7 pairs after 5
    assert model.mem_bytes == 8 * (5 + 5 + 1 + 7 + 7 + 5)


def test_ids_outside_the_vocabulary_are_refused():
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=f"id {wrong} at position 2 is outside the vocabulary, 0 to 4"):
            NGram(1, vocab_size=5).fit([0, 4, wrong])


def test_fitting_again_forgets():
    model = NGram(2).fit(b"aaaaaaaa")
    assert (model.fit(b"abracadabra").predict(b"a") == NGram(2).fit(b"abracadabra").predict(b"a")).all()


def test_any_vocabulary():
    V = 150_000
    ids = np.random.default_rng(0).integers(0, V, 20_000)
    ids[10_000:17_000] = ids[:7_000]  # something has to be seen twice
    model = NGram(5, vocab_size=V).fit(ids)
    assert abs(model.predict(ids[:100]).sum() - 1) < 1e-9 and model.predict(ids[:100])[ids[100]] > 100 / V


@given(st.lists(st.integers(1, 30), min_size=1, max_size=200), st.integers(1, 4))
def test_discounts_leave_something_of_every_count_and_something_for_the_rest(counts, n):
    found = discounts(np.array(counts), n)
    assert len(found) == n and all(0 < D <= c for c, D in enumerate(found, 1))


def test_what_was_never_seen_leaves_the_word_to_shorter_contexts():
    for smoothing in SMOOTHINGS:
        model = NGram(3, smoothing, 5).fit([0, 1, 0, 1, 0, 2, 2, 1])
        text = [4, 4, 0, 1, 4, 1, 3, 3, 0]  # 3 and 4 were never seen, so nothing after them either
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(model.log_probs(text), np.log([model.predict(text[:t])[w] for t, w in enumerate(text)]))
        if model.blends:
            np.testing.assert_array_equal(model.predict([4, 4]), model.predict([]))
        else:
            np.testing.assert_allclose(model.predict([4, 4]), 0.2)


def test_settings_that_cannot_be_are_refused():
    for wrong, words in (((0,), "order=0: give a whole number"), ((2.5,), "order=2.5"), (("2",), "order='2'"), ((2, "add", 0), "vocab_size=0"), ((2, "ad"), "there is no smoothing 'ad', only 'mle'")):
        with pytest.raises(ValueError, match=words):
            NGram(*wrong)
    for alpha in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="use smoothing='mle'"):
            NGram(2, "add", alpha=alpha)


def test_wild_estimates_of_a_discount_fall_back_to_the_plain_one():
    counts = np.repeat([1, 2, 3], [1, 1, 10])  # two minus ten would be below zero
    assert discounts(counts, 2) == pytest.approx([1 / 3, 1 / 3])


# Entropies


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6).filter(lambda p: sum(p) > 0.01), st.permutations(range(6)))
def test_entropies_obey_their_laws(weights, order):
    p = np.array(weights) / sum(weights)
    q = (p[list(order)] + 1e-3) / (p + 1e-3).sum()
    assert -1e-12 <= entropy(p) <= math.log2(6) + 1e-9
    assert cross_entropy(p, q) >= entropy(p) - 1e-12 and kl_divergence(p, q) >= 0
    assert abs(entropy(p[list(order)]) - entropy(p)) < 1e-9
    joint = np.outer(p, q)
    assert abs(entropy(joint) - entropy(p) - entropy(q)) < 1e-9 and mutual_information(joint) < 1e-9
    table = p.reshape(2, 3)
    assert 0 <= mutual_information(table) <= min(entropy(table.sum(0)), entropy(table.sum(1))) + 1e-9


def test_entropies_by_hand():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    assert entropy(p) == 1.5 and cross_entropy(p, q) == 1.75 and kl_divergence(p, q) == 0.25
    assert kl_divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.5 - 0.5 * math.log2(1.5))
    assert math.copysign(1, entropy(np.array([1.0]))) == 1  # 0, not -0


def test_what_is_no_logarithm_of_a_probability_is_refused():
    for wrong in ([0.5, 0.25], [-1.0, math.nan]):
        for call in (lambda: perplexity(np.array(wrong)), lambda: bits_per_byte(np.array(wrong), 2)):  # noqa: B023
            with pytest.raises(ValueError, match="pass np.log"):
                call()
    assert perplexity(np.array([-math.inf])) == math.inf and perplexity(np.array([1e-9])) == pytest.approx(1)
    with pytest.raises(ValueError, match="give a table"):
        mutual_information(np.array([0.5, 0.5]))


def test_rulers():
    log_probs = np.log([0.25, 0.5])
    assert math.isclose(perplexity(log_probs), 8**0.5) and math.isclose(bits_per_byte(log_probs, 6), 0.5)


# The arithmetic coder


def table_of(rows):
    "A model that cycles through given distributions."
    return lambda prefix: rows[len(prefix) % len(rows)]


extreme = st.lists(st.sampled_from([0.0, 1e-300, 1e-30, 1e-12, 1e-6, 0.1, 1.0]), min_size=1, max_size=5).filter(lambda w: sum(w) > 1e-6)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_was_encoded_can_be_decoded_whatever_the_model_believes(data):
    n_tokens = data.draw(st.integers(1, 5))
    rows = [np.array((row + [0.0] * 5)[:n_tokens]) for row in data.draw(st.lists(extreme, min_size=1, max_size=4))]
    rows = [row / row.sum() if row.sum() else np.full(n_tokens, 1 / n_tokens) for row in rows]
    ids = data.draw(st.lists(st.integers(0, n_tokens - 1), max_size=80))
    predict = table_of(rows)
    code = encode(ids, predict)
    assert decode(code, predict, len(ids)).tolist() == ids
    counts = [quantize(predict(ids[:t])) for t in range(len(ids))]
    bits = sum(math.log2(c.sum() / c[token]) for c, token in zip(counts, ids, strict=True))
    assert math.ceil((bits - 1e-3) / 8) <= len(code) <= math.ceil((bits + 1e-3) / 8)
    with np.errstate(divide="ignore"):
        surprise = -sum(np.log2(predict(ids[:t])[token]) for t, token in enumerate(ids))
    assert len(code) <= math.ceil((surprise + 1e-3) / 8) if math.isfinite(surprise) else True


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 5), st.sampled_from(["add", "kneser-ney", "modified-kneser-ney", "mle"]))
def test_any_bytes_survive_with_any_ngram(text, order, smoothing):
    model = NGram(order, smoothing, alpha=0.1).fit(b"the rain in spain stays mainly in the plain")
    assert bytes(decode(encode(text, model.predict), model.predict, len(text)).tolist()) == text


def test_real_text_is_coded_within_a_byte_of_its_surprise(sides):
    train, test = sides
    for order in (1, 3, 5):
        model = NGram(order).fit(train)
        for start, stop in ((0, 1), (0, 2500), (5000, 5100)):
            text = test[start:stop]
            bits, code = -model.log_probs(text).sum() / math.log(2), encode(text, model.predict)
            assert bits / 8 - 1e-3 <= len(code) <= bits / 8 + 1 + 1e-3
            assert bytes(decode(code, model.predict, len(text)).tolist()) == text


def test_quantized_probabilities_fill_32_bits_and_no_more():
    rng = np.random.default_rng(0)
    for V in (1, 2, 7, 1000):
        for p in (rng.dirichlet(np.full(V, 0.1)), np.eye(V)[0], np.full(V, 1 / V)):
            f = quantize(p)
            assert f.min() >= 1 and 2**32 - V <= f.sum() <= 2**32


def test_interval_against_exact_fractions():
    from fractions import Fraction

    rng = random.Random(0)
    interval, low, width = Interval(), Fraction(0), Fraction(1)
    for _ in range(60):
        counts = quantize(np.random.default_rng(rng.getrandbits(30)).dirichlet(np.full(4, 0.05)))
        token, total = rng.randrange(4), int(counts.sum())
        low += width * Fraction(int(counts[:token].sum()), total)
        width *= Fraction(int(counts[token]), total)
        interval.narrow(counts, token)
        n = len(interval.digits)
        ours = Fraction(int.from_bytes(interval.digits, "big") << 64 | interval.low, 256**n << 64)
        ours_width = Fraction(interval.width, 256**n << 64)
        assert 1 << 56 <= interval.width <= 1 << 64 and 0 <= interval.low < 1 << 64
        assert abs(ours_width / width - 1) < 1e-4 and abs(ours - low) < width * Fraction(1, 10**4) + Fraction(1, 2**30)


def test_a_carry_runs_through_digits_that_are_already_written():
    for digits, right in (([0], [1]), ([7, 255, 255], [8, 0, 0]), ([254, 255], [255, 0]), ([1, 2], [1, 3])):
        written = bytearray(digits)
        add_one(written)
        assert written == bytearray(right)
    # a text that stays right below one half and then crosses it: 0.0111… + something
    third = np.array([1 / 3, 1 / 3, 1 / 3])
    ids = [1] * 300 + [2]
    code = encode(ids, lambda prefix: third)
    assert decode(code, lambda prefix: third, 301).tolist() == ids
    carried = 0
    for seed in range(40):  # and carries do happen
        rng, interval = random.Random(seed), Interval()
        counts, before = quantize(np.array([0.499, 0.002, 0.499])), b""
        for _ in range(200):
            interval.narrow(counts, rng.choice([1, 1, 2]))
            now = bytes(interval.digits)
            carried += not now.startswith(before)
            before = now
    assert carried > 0


def test_damage_is_noticed(sides):
    model, text = NGram(3).fit(sides[0][:50_000]), sides[1][:200]
    code = encode(text, model.predict)
    noticed, rng = 0, random.Random(0)
    for _ in range(40):
        damaged = bytearray(code)
        damaged[rng.randrange(len(code) - 8)] ^= 1 << rng.randrange(8)
        try:
            noticed += bytes(decode(bytes(damaged), model.predict, len(text)).tolist()) == text
        except ValueError as error:
            assert "the code is damaged" in str(error)
            noticed += 1
    assert noticed >= 36
    for wrong, n in ((code[:-1], 200), (code + b"\0", 200), (code, 180), (b"", 200)):
        with pytest.raises(ValueError, match="the code is damaged, or model or n are not those it was made with"):
            decode(wrong, model.predict, n)


def test_a_number_in_the_part_that_belongs_to_nobody():
    def predict(prefix):
        return np.array([0.5, 0.3, 0.2])

    with pytest.raises(ValueError, match="no token 0 fits: the code is damaged"):
        decode(b"\xff" * 20, predict, 5)  # the very end of the line is left over by rounding
    ids = decompress_noise(b"\xff" * 20, predict)
    assert ids[0] == 2 and len(ids) > 20


def test_a_model_that_predicts_nonsense_is_refused():
    for p in ([0.5, 0.4], [0.5, -0.5, 1.0], [np.nan, 1.0], []):
        with pytest.raises(ValueError, match="divide by their sum"):
            encode([0], lambda prefix, p=p: np.array(p))
    with pytest.raises(ValueError, match="id 2 at position 1 is outside the vocabulary"):
        encode([0, 2], lambda prefix: np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="id -1 at position 0"):
        encode([-1], lambda prefix: np.array([0.5, 0.5]))


def test_a_model_instead_of_its_predict_is_refused():
    model = NGram(1).fit(b"ab")
    for call in (lambda: encode(b"a", model), lambda: decode(b"a", model, 1), lambda: decompress_noise(bytes(9), model)):
        with pytest.raises(TypeError, match="predict is a function, not NGram: pass model.predict"):
            call()
    with pytest.raises(ValueError, match="give one probability for each token"):
        encode([0], lambda prefix: np.array([[0.5, 0.5]]))


def test_predictions_may_be_lists_or_float32_and_off_by_rounding():
    p = np.random.default_rng(0).dirichlet(np.ones(1000)).astype(np.float32)
    ids = [3, 999, 0, 500]
    for predict in (lambda prefix: p, lambda prefix: p.tolist()):
        assert decode(encode(ids, predict), predict, 4).tolist() == ids


# Noise


def test_noise_becomes_text_and_comes_back(sides):
    model, noise = NGram(4).fit(sides[0]), random.Random(3).randbytes(120)
    ids = decompress_noise(noise, model.predict)
    code = encode(ids, model.predict)
    same = next(n for n, (a, b) in enumerate(zip(code, noise, strict=False)) if a != b)
    assert same >= 111 and 112 <= len(code) <= 125
    bits = -model.log_probs(ids).sum() / math.log(2)
    assert 8 * 112 < bits < 8 * 113 + 64


def test_noise_is_drawn_with_the_models_probabilities(sides):
    rule = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    ids = decompress_noise(random.Random(0).randbytes(2000), lambda prefix: rule[prefix[-1]] if len(prefix) else rule[0])
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    n = pairs.sum(1, keepdims=True)
    assert (np.abs(pairs / n - rule) < 4.5 * np.sqrt(rule * (1 - rule) / n) + 1e-9).all() and pairs[0, 2] == 0


def test_noise_that_is_too_short_and_models_that_are_sure():
    assert len(decompress_noise(b"1234567", lambda prefix: np.array([0.5, 0.5]))) == 0
    assert len(decompress_noise(bytes(20), lambda prefix: np.array([1.0]), max_tokens=50)) == 50


# The ladder


def test_ladder(sides):
    train, test = sides[0][:30_000], sides[1][:3000]
    model = NGram(2, "add").fit(train)
    ladder = loss_ladder(train, test, {"mine": model, "a number": 0.5, "an integer": 20})
    assert list(ladder.values()) == sorted(ladder.values(), reverse=True)
    assert set(ladder) == {"uniform", "unigram", "bigram", "trigram", "5-gram", "zlib", "bz2", "xz", "mine", "a number", "an integer"}
    assert ladder["mine"] == model.bits_per_byte(test, len(test)) and ladder["a number"] == 0.5 and ladder["uniform"] == 8
    for order, name in ((1, "unigram"), (2, "bigram"), (3, "trigram"), (5, "5-gram")):
        assert ladder[name] == NGram(order, "kneser-ney").fit(train).bits_per_byte(test, len(test))
    for name, size in (
        ("zlib", lambda x: len(zlib.compress(x, 9))),
        ("bz2", lambda x: len(bz2.compress(x))),
        ("xz", lambda x: len(lzma.compress(x, preset=9 | lzma.PRESET_EXTREME))),
    ):
        assert math.isclose(ladder[name], 8 * (size(train + test) - size(train)) / 3000)


def test_defaults_are_those_of_the_book():
    defaults = {name: p.default for name, p in inspect.signature(NGram).parameters.items()}
    assert defaults == {"order": inspect.Parameter.empty, "smoothing": "kneser-ney", "vocab_size": 256, "alpha": 1.0}
