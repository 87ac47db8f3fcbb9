"Stories and the web crawl of chapter `worlds`, at full size."

import hashlib
import math
import random
import re
import statistics

import numpy as np
import pytest

from llm_book.worlds import (
    StoryReader,
    StoryWorld,
    answer,
    contradictions,
    follows,
    held_out_stories,
    instructions,
    preferences,
    reward,
    web_crawl,
)

FIXED = (
    'It was a windy afternoon. Sam met his friend Mia in the forest. Mia had an '
    'orange ball. Sam had always dreamed of such a ball. All Sam had was a white '
    'kite. Sam asked Mia for the orange ball. "Let us share it," said Mia, and so '
    'they did. Sam and Mia were happy because they had shared the orange ball.\n'
)
DIGEST = "d36ea16ba8c2d97de2abbc940c3fe961484e33b74e988c6ba6eb5e2470ca710e"
CRAWL = "79fd888e4d43c9f6c227d7f0e61ba3737746e9feee7ca3fa849a4cac2472fe85"


@pytest.fixture(scope="module")
def world():
    return StoryWorld()


@pytest.fixture(scope="module")
def plain():
    return StoryWorld(n_questions=0)


def may_clash(world, a, b):
    "Say whether one of two ways on could be read as the beginning of the other."
    for x, y in zip(a.words, b.words, strict=False):
        words = [{t} if t >= 0 else set(world.tables[-1 - t].ids) for t in (x, y)]
        if not words[0] & words[1]:
            return False
        if min(x, y) < 0 and max(x, y) < 0 and x != y:
            one, two = (world.tables[-1 - t] for t in (x, y))
            rivals = world.rivals[one.role] == world.rivals[two.role]
            if rivals and one.ids == two.ids and len(set(one.ids)) == len(one.ids):
                return False  # different roles of one pool are never the same
    return True


def test_no_text_comes_about_in_two_ways(world):
    world.entropy()  # visits every moment
    for number in range(len(world.met)):
        ways = world.options(number)[1]
        for n, one in enumerate(ways):
            assert not any(may_clash(world, one, other) for other in ways[:n])


def test_weights_and_sizes(world):
    assert 10**24 < world.n_stories() < 10**26
    for number in range(len(world.met)):
        weights, ways = world.options(number)
        assert len(weights) == len(ways) and weights == sorted(set(weights))
        assert math.isclose(math.fsum(way.p for way in ways), 1)
    assert 60 < world.expected_length() < 150


def test_predictions_sum_to_one_at_10000_prefixes(world):
    rng, seen = random.Random(5), 0
    for ids in world.sample(200, seed=5):
        belief, stops = world.start(), {rng.randrange(len(ids)) for _ in range(70)}
        for t, symbol in enumerate(ids):
            if t in stops:
                p = world.foresee(belief)
                assert math.isclose(p.sum(), 1, rel_tol=1e-9) and p.min() >= 0
                assert p[symbol] > 0
                seen += 1
            belief = world.update(belief, symbol)
        assert belief == world.start()
    assert seen >= 9_000


def test_loss_of_the_best_predictor_is_the_entropy(world):
    told = world.sample(2000, seed=6)
    losses = [-world.log_prob(ids) for ids in told]
    error = statistics.stdev(losses) / len(losses) ** 0.5
    assert abs(statistics.mean(losses) - world.entropy()) < 4 * error
    sizes = [len(world.decode(ids).encode()) for ids in told]
    error = statistics.stdev(sizes) / len(sizes) ** 0.5
    assert abs(statistics.mean(sizes) - world.expected_bytes()) < 4 * error
    ids = told[0]
    assert np.isclose(world.predict(ids[:30])[ids[30]], math.exp(-world.surprises(ids)[30]))


def test_the_same_text_everywhere(world, plain):
    assert plain.text(1, seed=7) == FIXED
    digest = hashlib.sha256(world.text(200, seed=8).encode()).hexdigest()
    assert digest == DIGEST
    crawl = repr(web_crawl(200, seed=8))
    assert hashlib.sha256(crawl.encode()).hexdigest() == CRAWL


@pytest.mark.parametrize(
    "n", [1_000, pytest.param(10_000, marks=pytest.mark.slow)]
)
def test_no_contradiction(world, n):
    for line in world.text(n, seed=9).splitlines():
        assert not contradictions(line), line


def test_reader_and_world_agree_on_every_answer(plain):
    for ids in plain.sample(1000, seed=10):
        text = plain.decode(ids)
        for question, right in plain.questions(ids):
            assert answer(text, question) == right


def test_wrong_answers_are_contradictions(world):
    wrong = found = 0
    for line in world.text(300, seed=11).splitlines():
        for a, b in (("Happy.", "Sad."), ("Nobody.", "Mia."), ("At home.", "In the barn.")):
            if f"Answer: {a}" in line:
                wrong += 1
                found += bool(contradictions(line.replace(f"Answer: {a}", f"Answer: {b}")))
    assert wrong > 100 and found == wrong


def test_instructions_are_followed_by_their_own_stories(plain):
    pairs = instructions(plain, 300, seed=12)
    assert all(follows(asks, text) for asks, text in pairs)
    others = [text for _, text in pairs[1:] + pairs[:1]]
    kept = sum(follows(asks, text) for (asks, _), text in zip(pairs, others, strict=True))
    assert kept < 30
    known = set(plain.symbols)
    assert all(set(re.findall(r"\w+|[^\w\s]", asks)) <= known for asks, _ in pairs)


def test_preferences_have_their_rewards(plain):
    pairs = preferences(plain, 300, seed=13)
    wins = 0
    for pair in pairs:
        texts = [f"{pair.prompt} {end}" for end in (pair.chosen, pair.rejected)]
        assert tuple(map(reward, texts)) == pair.rewards
        wins += pair.rewards[0] > pair.rewards[1]
    odds = [1 / (1 + math.exp(-abs(a - b))) for a, b in (p.rewards for p in pairs)]
    assert abs(wins - sum(odds)) < 4 * (300 / 4) ** 0.5


def test_reader_knows_a_stranger_and_a_color():
    tale = "Mia and Tom were playing in the garden. Tom had a red kite."
    assert not contradictions(tale)
    assert contradictions(tale + " Zoe took the kite.")
    assert contradictions(tale + " The blue kite was beautiful.")
    assert StoryReader(tale).at == {"Mia": "garden", "Tom": "garden"}


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_the_crawl(seed):
    crawl, test = web_crawl(400, seed=seed), held_out_stories(seed=seed)
    assert len({page.url for page in crawl}) == 400
    for number, page in enumerate(crawl):
        source = crawl[page.source]
        assert (page.text == source.text) == (page.copied != "near")
        assert (page.source == number) == (page.copied == "")
        assert page.leaks == tuple(n for n, text in enumerate(test) if text in page.text)
        spans = sorted([*page.boilerplate, *(span[:2] for span in page.personal)])
        assert all(a < b for a, b in spans)
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    originals = [page.text for page in crawl if page.copied != "exact"]
    assert len(set(originals)) == len(originals)
