"""Chapter 03 against oracles that are slow, stupid, and share nothing with it."""
import math
import random
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_book import worlds
from llm_book.worlds import (
    ArithmeticWorld,
    BracketWorld,
    GrammarWorld,
    HiddenMarkovWorld,
    MarkovWorld,
    RecallWorld,
    entropy_of,
    staircase,
)

EPISODES = [
    BracketWorld(),
    BracketWorld(1, 3, (3, 2)),
    BracketWorld(4, None, (1, 2)),
    GrammarWorld(),
    ArithmeticWorld(),
    ArithmeticWorld(modulus=97),
    ArithmeticWorld(3, steps=False),
    RecallWorld(),
    RecallWorld(26, 10, 12, 2),
]
SOURCES = [staircase(), HiddenMarkovWorld(), MarkovWorld([[1, 1], [1, 0]]), MarkovWorld([[3, 1, 2]])]


# The same text everywhere: these strings may never change.

FIXED = {
    "staircase()": "bacaababcaaaaabcaaabcabaabcbac",
    "HiddenMarkovWorld()": "bbbbbbbbbbbbcbbbbbbbbbcbbbbccc",
    "BracketWorld()": "[()()]()[](((()())[[]])[]()())(()[[]]())\n([][[()][()](()[]()[[[()]()()()([][])]])()[[]()[()]()][]])\n",
    "GrammarWorld()": " the dog sees the dog that sleeps\n the cat knows the dogs\n",
    "ArithmeticWorld()": "41+19:1+9+0=10,4+1+1=06,=060\n50+83:0+3+0=03,5+8+0=13,=133\n",
    "RecallWorld()": "c7b3h0a6?h0?c7?b3\ne0f1a0g3?e0?e0?e0\n",
}


@pytest.mark.parametrize("name", FIXED)
def test_same_seed_same_text_on_every_machine(name):
    world = eval(name, vars(worlds))
    drawn = world.sample(30, 7) if isinstance(world, (MarkovWorld, HiddenMarkovWorld)) else sum(world.sample(2, 7), [])
    assert world.decode(drawn) == FIXED[name]


@pytest.mark.parametrize("world", EPISODES + SOURCES, ids=repr)
def test_repr_makes_the_same_world(world):
    again = eval(repr(world), vars(worlds))
    assert again.sample(20, 3) == world.sample(20, 3) and repr(again) == repr(world)
    assert math.isclose(again.entropy_rate(), world.entropy_rate())


# Chance.

@given(st.integers(1, 10**40), st.integers(0, 2**32))
def test_below_stays_below(n, seed):
    assert 0 <= worlds.below(random.Random(seed), n) < n


def test_choose_gives_each_its_share():
    rng, weights, n = random.Random(0), [3, 0, 1, 4, 2], 50_000
    drawn = Counter(worlds.choose(rng, weights) for _ in range(n))
    for place, weight in enumerate(weights):
        p = weight / 10
        assert abs(drawn[place] - n * p) <= 4 * math.sqrt(n * p * (1 - p))


@given(st.lists(st.lists(st.integers(1, 50), min_size=4, max_size=4), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_long_run_is_exactly_stationary(weights):
    shares = worlds.long_run(weights)
    assert math.gcd(*shares) == 1 and min(shares) > 0
    for j in range(4):
        assert sum(Fraction(shares[i] * weights[i][j], sum(weights[i])) for i in range(4)) == shares[j]


def test_long_run_leaves_out_what_never_comes_again():
    weights = [[0] * 6 for _ in range(6)]
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 2), (3, 3), (5, 0), (5, 5)]:
        weights[i][j] = i + 1
    shares = worlds.long_run(weights)
    assert [bool(s) for s in shares] == [False, False, True, True, True, False]
    with pytest.raises(ValueError, match="never meet"):
        worlds.long_run([[1, 0, 0], [1, 0, 1], [0, 0, 1]])


def test_a_chain_that_is_never_the_same_twice():
    assert worlds.long_run([[0, 5], [2, 0]]) == [1, 1]  # periodic


# Chains.

@given(st.integers(0, 10**6), st.sampled_from([(2, 0), (2, 1), (3, 1), (2, 2), (2, 3)]))
@settings(max_examples=25, deadline=None)
def test_markov_by_hand_over_all_texts(seed, size):
    V, order = size
    rng = random.Random(seed)
    world = MarkovWorld([[1 + worlds.below(rng, 9) for _ in range(V)] for _ in range(V**order)])
    assert world.order == order
    total = sum(world.shares)
    n, p = order + 3, {}
    for ids in product(range(V), repeat=n):
        context = int("".join(map(str, ids[:order])) or "0", V)
        p[ids] = world.shares[context] / total
        for t in range(order, n):
            context = int("".join(map(str, ids[t - order : t])) or "0", V)
            p[ids] *= world.weights[context][ids[t]] / sum(world.weights[context])
        assert math.isclose(world.log_prob(ids), math.log(p[ids]))
    assert math.isclose(sum(p.values()), 1)
    table = np.array(list(p.values())).reshape((V,) * n)
    for k in range(order + 2):  # p is stationary: the floors can be read off anywhere
        last = table.sum(axis=tuple(range(n - k - 1)))
        assert math.isclose(world.floor(k), entropy_of(last) - entropy_of(last.sum(axis=-1)), abs_tol=1e-9)


def test_markov_samples_start_in_the_long_run():
    world = staircase()
    first = Counter(tuple(world.sample(2, seed)) for seed in range(6000))
    for context, share in enumerate(world.shares):
        p = share / sum(world.shares)
        assert abs(first[divmod(context, 3)] - 6000 * p) < 4.5 * math.sqrt(6000 * p)
    assert world.sample(0, 0) == [] and len(world.sample(1, 0)) == 1
    assert world.sample(50, 9)[:20] == world.sample(20, 9)


# Hidden chains.

@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 3))
@settings(max_examples=15, deadline=None)
def test_hidden_markov_over_all_paths(seed, N, V):
    rng = random.Random(seed)
    moves, shows = ([[1 + worlds.below(rng, 9) for _ in range(m)] for _ in range(N)] for m in (N, V))
    world = HiddenMarkovWorld(moves, shows)
    n, p = 4, np.zeros((N,) + (V,) * 4)  # by first state and text
    start = np.array(world.shares) / sum(world.shares)
    for path in product(range(N), repeat=n):
        p_path = start[path[0]] * math.prod(moves[i][j] / sum(moves[i]) for i, j in zip(path, path[1:], strict=False))
        for ids in product(range(V), repeat=n):
            p[(path[0], *ids)] += p_path * math.prod(shows[i][x] / sum(shows[i]) for i, x in zip(path, ids, strict=False))
    for ids in product(range(V), repeat=n):
        assert math.isclose(world.log_prob(ids), math.log(p[(slice(None), *ids)].sum()))
    seen = p.sum(axis=0)
    low, high = world.entropy_bounds(n)
    assert math.isclose(high, entropy_of(seen) - entropy_of(seen.sum(axis=-1)), abs_tol=1e-9)
    assert math.isclose(low, entropy_of(p) - entropy_of(p.sum(axis=-1)), abs_tol=1e-9)


# Texts that end.

@pytest.mark.parametrize("world", EPISODES, ids=repr)
def test_rate_and_length_of_a_long_sample(world):
    texts = world.sample(1500, seed=11)
    nats = np.array([-world.log_prob(ids) for ids in texts])
    lengths = np.array([float(len(ids)) for ids in texts])
    for values, exact in ((nats, world.entropy()), (lengths, world.expected_length())):
        assert abs(values.mean() - exact) <= max(4.5 * values.std() / len(values) ** 0.5, 1e-9 * exact)
    assert math.isclose(world.entropy_rate(), world.entropy() / world.expected_length())


@pytest.mark.parametrize("world", EPISODES, ids=repr)
def test_a_stream_forgets_at_the_end_of_a_text(world):
    one, two = world.sample(2, seed=1)
    assert math.isclose(world.log_prob(one + two), world.log_prob(one) + world.log_prob(two))
    np.testing.assert_allclose(world.predict(one + two[:3]), world.predict(two[:3]))
    assert world.encode(world.decode(one + two)) == one + two


@pytest.mark.parametrize("world", EPISODES + SOURCES, ids=repr)
def test_predict_sums_to_one_and_agrees_with_surprises(world):
    drawn = world.sample(60, seed=4)
    ids = drawn if isinstance(drawn[0], int) else sum(drawn[:3], [])
    nats = world.surprises(ids)
    for t in range(0, len(ids), 5):
        p = world.predict(ids[:t])
        assert p.shape == (len(world.symbols),) and p.dtype == np.float64
        assert math.isclose(p.sum(), 1) and p.min() >= 0
        assert math.isclose(-math.log(p[ids[t]]), nats[t], abs_tol=1e-12)
    assert math.isclose(world.log_prob(np.array(ids)), -nats.sum())


@pytest.mark.parametrize("world", EPISODES, ids=repr)
def test_what_cannot_happen(world):
    V = len(world.symbols)
    ids = world.sample(1, seed=2)[0]
    for t in range(len(ids)):
        p = world.predict(ids[:t])
        for symbol in np.flatnonzero(p == 0)[:2]:
            assert world.log_prob([*ids[:t], symbol]) == -math.inf
            assert np.isinf(world.surprises([*ids[:t], symbol, ids[0]])[t:]).all()
            with pytest.raises(ValueError, match="never comes after"):
                world.predict([*ids[:t], symbol])
    for strange in (-1, V):
        with pytest.raises(ValueError, match="no symbol of this world"):
            world.log_prob([strange])
    with pytest.raises(ValueError, match="can't write"):
        world.encode("§")


def all_bracket_texts(n_kinds: int, max_length: int):
    pairs = "()[]{}<>"[: 2 * n_kinds]
    for n in range(0, max_length + 1, 2):
        for text in product(pairs, repeat=n):
            left = "".join(text)
            while (shorter := left.replace("()", "").replace("[]", "").replace("{}", "")) != left:
                left = shorter
            if not left:
                yield "".join(text)


def test_brackets_are_balanced_and_nothing_else():
    world = BracketWorld(2, None, (1, 4))
    total = 0.0
    for text in all_bracket_texts(2, 6):
        p = math.exp(world.log_prob(world.encode(text + "\n")))
        assert math.isclose(p, 0.1 ** (len(text) // 2) * 0.8 ** (len(text) // 2 + 1))
        total += p
    assert 0.98 < total < 1
    assert world.log_prob(world.encode("(]")) == -math.inf


def test_brackets_of_bounded_depth():
    world, n_texts = BracketWorld(2, 3, (5, 2)), 800
    for ids in world.sample(n_texts, seed=0):
        depth = np.cumsum([1 if s % 2 == 0 else -1 for s in ids[:-1]] or [0])
        assert 0 <= depth.min() and depth.max() <= 3 and depth[-1] == 0
    assert world.predict(world.encode("([("))[world.symbols.index(")")] == 1


def inside(rules, start, words):
    "The probability of a whole text: sum over all ways to cut it (an inside algorithm)."

    @lru_cache(None)
    def name(a, i, j):
        total = sum(rules[a].values())
        return sum(w / total * row(tuple(right.split()), i, j) for right, w in rules[a].items())

    @lru_cache(None)
    def row(right, i, j):
        if not right:
            return float(i == j)
        head, rest = right[0], right[1:]
        if head not in rules:
            return row(rest, i + 1, j) if i < j and words[i] == head else 0.0
        return sum(p * row(rest, k, j) for k in range(i, j + 1) if (p := name(head, i, k)))

    return name(start, 0, len(words))


AMBIGUOUS = {"S": {"a": 3, "a S": 2, "b A S": 1}, "A": {"": 2, "b": 1, "a A": 1}}


@pytest.mark.parametrize("rules", [worlds.agreement(), AMBIGUOUS], ids=["agreement", "ambiguous"])
def test_grammar_against_the_inside_algorithm(rules):
    world = GrammarWorld(rules)
    for ids in world.sample(60, seed=5):
        words = tuple(world.symbols[n].strip() for n in ids[:-1])
        if len(words) <= 9:
            assert math.isclose(math.exp(world.log_prob(ids)), inside(rules, "S", words))


def test_all_short_texts_of_an_ambiguous_grammar():
    world = GrammarWorld(AMBIGUOUS)
    p, several = {}, 0
    for n in range(1, 9):
        for words in product(range(2), repeat=n):
            ids = [*words, world.end]
            p[words] = math.exp(world.log_prob(ids))
            assert (p[words] > 0) == (world.n_derivations(ids) > 0)
            several += world.n_derivations(ids) > 1
    assert several and 0.9 < sum(p.values()) < 1
    # the entropy of derivations is above that of texts
    nats = [-world.log_prob(ids) for ids in world.sample(4000, seed=0)]
    assert np.mean(nats) + 4 * np.std(nats) / 4000**0.5 < world.entropy()


def test_no_sentence_has_two_derivations():
    world = GrammarWorld()
    assert all(world.n_derivations(ids) == 1 for ids in world.sample(800, seed=3))


def test_sentences_agree():
    world = GrammarWorld()
    for ids in world.sample(500, seed=8):
        words = world.decode(ids).split()
        if "that" not in words:
            subject, verb = words[1], words[2]
            assert verb.endswith("s") == (subject in ("dog", "cat", "child"))


def test_texts_that_barely_have_a_mean_length():
    assert GrammarWorld({"S": {"a S S": 49, "b": 51}}).expected_length() > 40
    with pytest.raises(ValueError, match="no mean length"):
        GrammarWorld({"S": {"a S S": 1, "b": 1}})


@pytest.mark.parametrize("n_digits", [1, 2, 4])
def test_sums_are_right(n_digits):
    world = ArithmeticWorld(n_digits)
    for ids in world.sample(200, seed=0):
        asked, steps, answer = world.decode(ids)[:-1].replace(":", "|").replace(",=", "|").split("|")
        a, b = map(int, asked.split("+"))
        assert int(answer) == a + b and len(answer) == n_digits + 1
        for step in steps.split(","):
            left, right = step.split("=")
            assert sum(map(int, left.split("+"))) == int(right)


@pytest.mark.parametrize("modulus", [2, 7, 10, 11, 97, 113])
def test_modular_questions_are_uniform(modulus):
    world = ArithmeticWorld(modulus=modulus, steps=False)
    n = world.n_digits
    for a in range(modulus):
        assert math.isclose(world.log_prob(world.encode(f"{a:0{n}}+")), -math.log(modulus))
        text = world.write(a, modulus - 1)
        assert int(text.split("=")[1]) == (a + modulus - 1) % modulus
        assert math.isclose(world.log_prob(world.encode(text)), -2 * math.log(modulus))


def test_recall_answers_what_was_said():
    world = RecallWorld(10, 5, 6, 4)
    for ids in world.sample(200, seed=0):
        text = world.decode(ids)[:-1]
        said, *queries = text.split("?")
        table = dict(zip(said[::2], said[1::2], strict=False))
        assert len(table) == 6 and len(queries) == 4
        assert all(table[query[0]] == query[1] for query in queries)


def test_bits_per_byte():
    assert math.isclose(MarkovWorld([[1, 1]]).bits_per_byte(), 1)
    assert math.isclose(MarkovWorld([[1, 1]], "éü").bits_per_byte(), 1 / 2)
    with pytest.raises(ValueError, match="different sizes"):
        GrammarWorld().bits_per_byte()


def test_the_longest_symbol_that_fits():
    world = GrammarWorld({"S": {"ab": 1, "a": 1, "abc S": 1}}, space="")
    assert [world.symbols[n] for n in world.encode("abcaba\n")] == ["abc", "ab", "a", "\n"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MarkovWorld([[1, 1]] * 3), "3 rows of 2 weights"),
        (lambda: MarkovWorld([[1, 1], [1, 1, 1]]), "are no chain"),
        (lambda: MarkovWorld([[1] * 13] * 169), "144 rows at most"),
        (lambda: MarkovWorld([[1, -1], [1, 1]]), "below 0"),
        (lambda: HiddenMarkovWorld([[1, 1]] * 2, [[1, 1]]), "2 states need"),
        (lambda: HiddenMarkovWorld([[1, 1]] * 2, [[1, 1], [0, 0]]), "no weight above"),
        (lambda: BracketWorld(0), "n_kinds from 1"),
        (lambda: BracketWorld(2, 0), "max_depth from 1"),
        (lambda: BracketWorld(2, 3, (0, 1)), "weights from 1"),
        (lambda: BracketWorld(2, None), "open less often"),
        (lambda: GrammarWorld({"S": {"A a": 1}, "A": {"S": 1, "b": 1}}), "begin with itself"),
        (lambda: GrammarWorld({"S": {"a S S": 1, "b": 1}}), "no mean length"),
        (lambda: GrammarWorld({"S": {"a": 0}}), "weights from 1"),
        (lambda: ArithmeticWorld(0), "n_digits from 1"),
        (lambda: ArithmeticWorld(modulus=1), "modulus from 2"),
        (lambda: RecallWorld(3, 3, 4), "n_pairs ≤ n_keys"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_no_torch():
    import subprocess
    import sys

    code = "import sys, llm_book.worlds; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
