"""What would bore a reader of the chapter on embeddings: many shapes and types, round trips, other people's formulas."""
import copy
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from llm_book import embedding as em  # noqa: E402


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (2, 1, 3), (0,), (0, 4)], ids=str)
@pytest.mark.parametrize("padding_id", [None, 0, 6])
def test_lookup_forward_and_backward(shape, padding_id):
    weight = draw(7, 3).requires_grad_()
    ids = torch.randint(7, shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = em.embed(ids, weight, padding_id), F.embedding(ids, weight, padding_id)
    assert torch.equal(ours, theirs)
    grad_x = draw(*shape, 3, seed=2)
    want = torch.autograd.grad(theirs, weight, grad_x)[0]
    for found in (torch.autograd.grad(ours, weight, grad_x)[0], em.embed_backward(grad_x, ids, 7, padding_id)):
        torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


def test_second_derivative():
    weight, ids = draw(4, 3).requires_grad_(), torch.tensor([1, 1, 3])
    assert torch.autograd.gradcheck(lambda w: em.embed(ids, w).pow(3), weight)
    assert torch.autograd.gradgradcheck(lambda w: em.embed(ids, w).pow(3), weight)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
def test_every_whole_number_is_an_id(dtype):
    weight = draw(9, 2)
    assert torch.equal(em.embed(torch.tensor([8, 0], dtype=dtype), weight), weight[[8, 0]])


@pytest.mark.parametrize("bad", [[[0, 9]], [[-1, 2]], [[3, 10**12]]], ids=str)
def test_ids_outside_of_the_table(bad):
    number = next(n for n in bad[0] if not 0 <= n < 9)
    with pytest.raises(IndexError, match=f"id {number} is outside .* V=9 rows: ids go from 0 to 8"):
        em.embed(torch.tensor(bad), draw(9, 2))


@pytest.mark.parametrize("bad", [torch.tensor([1.0]), torch.tensor([True]), torch.tensor([1j])], ids=str)
def test_what_is_no_id(bad):
    with pytest.raises(TypeError, match="ids are whole numbers, not"):
        em.embed(bad, draw(9, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_precision_is_that_of_the_table(dtype):
    table = em.Embedding(7, 4, scale=2.0).to(dtype)
    x = table(torch.tensor([[1, 2, 3]]))
    assert x.dtype == dtype and table.unembed(x).dtype == dtype and table.unembed(x).shape == (1, 3, 7)


def test_layer_saves_loads_copies_and_ties():
    torch.manual_seed(0)
    table, other = em.Embedding(7, 4, padding_id=2, scale=3.0, std=0.5), em.Embedding(7, 4)
    assert list(table.state_dict()) == ["weight"] and table.weight.shape == (7, 4)
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.weight, table.weight) and not table.weight[2].any()
    ids = torch.tensor([[0, 2, 6]])
    torch.testing.assert_close(copy.deepcopy(table)(ids), table(ids))
    torch.testing.assert_close(table(ids), 3 * other(ids))
    head = nn.Linear(4, 7, bias=False)
    head.weight = table.weight
    model = nn.ModuleDict({"table": table, "head": head})
    assert sum(p.numel() for p in model.parameters()) == 28
    torch.testing.assert_close(head(draw(2, 5, 4).float()), table.unembed(draw(2, 5, 4).float()))
    assert repr(table) == "Embedding(7, 4, padding_id=2, scale=3)"


@pytest.mark.parametrize("padding_id", [-1, 7])
def test_padding_outside_of_the_table(padding_id):
    with pytest.raises(ValueError, match=f"padding_id={padding_id} is no id .*V=7 .*0 to 6"):
        em.Embedding(7, 4, padding_id=padding_id)


@pytest.mark.parametrize("vocab_size", [16, 256, 4096])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 6.0, 20.0])
def test_start_loss_is_an_upper_bound(vocab_size, spread):
    logits = spread * draw(400, vocab_size)
    mean, error = logits.logsumexp(-1).mean(), logits.logsumexp(-1).std() / 20
    bound = em.start_loss(vocab_size, spread)
    assert mean < bound + 4 * error and mean > 0.7 * bound
    assert em.start_loss(vocab_size, spread, own_logit=1e4) == 1e4
    assert em.start_loss(vocab_size, spread, own_logit=-1e4) == pytest.approx(bound)
    assert em.start_loss(vocab_size, spread, own_logit=bound) == pytest.approx(bound + math.log(2))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 15))
def test_window_pairs(ids, window):
    slow = [(a, b) for t, a in enumerate(ids) for s, b in enumerate(ids) if 0 < abs(t - s) <= window]
    centers, contexts = em.window_pairs(torch.tensor(ids, dtype=torch.long), window)
    assert sorted(zip(centers.tolist(), contexts.tolist(), strict=True)) == sorted(slow)


def test_counts_and_pmi_by_loops():
    centers, contexts = torch.tensor([0, 1, 1, 2, 0, 0]), torch.tensor([3, 0, 0, 1, 3, 2])
    counts = em.count_pairs(centers, contexts, 3, 4)
    for w in range(3):
        for c in range(4):
            n = sum(pair == (w, c) for pair in zip(centers.tolist(), contexts.tolist(), strict=True))
            assert counts[w, c] == n
            p_w, p_c = (centers == w).double().mean().item(), (contexts == c).double().mean().item()
            want = math.log(n / 6 / (p_w * p_c)) if n else -math.inf
            assert em.pmi(counts)[w, c].item() == pytest.approx(want)
            assert em.pmi(counts, positive=True, n_noise=3)[w, c].item() == pytest.approx(max(0, want - math.log(3)))
            q = em.noise_probabilities(counts.sum(0), 0.5)[c].item()
            want = math.log(n / 6 / (p_w * q)) if n else -math.inf
            assert em.pmi(counts, power=0.5)[w, c].item() == pytest.approx(want)


def test_pmi_needs_pairs():
    with pytest.raises(ValueError, match="all counts are zero"):
        em.pmi(torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)], ids=str)
def test_factorize_is_the_truncated_svd(shape):
    matrix = draw(*shape)
    left, strength, right = torch.linalg.svd(matrix, full_matrices=False)
    for d_model in range(1, min(shape) + 1):
        u, v = em.factorize(matrix, d_model)
        assert u.shape == (shape[0], d_model) and v.shape == (shape[1], d_model)
        want = (left[:, :d_model] * strength[:d_model]) @ right[:d_model]
        torch.testing.assert_close(u @ v.T, want)
        torch.testing.assert_close(u.norm(dim=0), v.norm(dim=0))
        assert (u.gather(0, u.abs().argmax(0, keepdim=True)) > 0).all()


def test_principal_components_do_not_flip():
    x = draw(9, 5)
    once, share = em.principal_components(x, 3)
    assert (once.gather(0, once.abs().argmax(0, keepdim=True)) > 0).all()
    twice, _ = em.principal_components(x @ torch.linalg.qr(draw(5, 5, seed=1))[0] + 7, 3)
    torch.testing.assert_close(once, twice)  # turning and moving the cloud changes nothing
    assert (share.diff() <= 0).all() and share.sum() < 1


def test_neighbors_and_analogies_by_loops():
    vectors = draw(30, 4)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    ids = torch.arange(30)
    for word, found in enumerate(em.nearest(vectors, ids, 4).tolist()):
        near = (unit @ unit[word]).tolist()
        assert found == sorted((n for n in range(30) if n != word), key=lambda n: -near[n])[:4]
    a, b, c = ids, (ids + 3) % 30, (ids * 7 + 5) % 30
    for exclude in (True, False):
        for n, found in enumerate(em.analogy(vectors, a, b, c, exclude).tolist()):
            goal = vectors[b[n]] - vectors[a[n]] + vectors[c[n]]
            taken = {a[n].item(), b[n].item(), c[n].item()} if exclude else set()
            assert found == max(set(range(30)) - taken, key=lambda m: (unit[m] @ goal).item())


def test_skip_gram_learns_two_camps():
    generator = torch.Generator().manual_seed(0)
    centers = torch.randint(6, (6000,), generator=generator)
    contexts = 4 * (centers % 2) + torch.randint(4, (6000,), generator=generator)
    options = {"d_model": 3, "epochs": 4, "power": 1.0, "lr": 0.1, "batch_size": 256}
    u, v = em.fit_skip_gram(centers, contexts, 6, 8, n_noise=3, **options)
    assert not u.requires_grad and not v.requires_grad
    near = em.cosines(u, u)
    assert near[::2, ::2].min() > 0.95 and near[::2, 1::2].max() < 0.4
    joint = em.count_pairs(centers, contexts, 6, 8)
    joint /= joint.sum()
    q = em.noise_probabilities(joint.sum(0), 1.0)
    best = (joint / (joint.sum(1, keepdim=True) * q)).log() - math.log(3)
    floor = em.skip_gram_risk(best.clamp(min=-50), joint, q, 3)
    assert floor < em.skip_gram_risk((u @ v.T).double(), joint, q, 3) < floor + 0.02
    fewer, _ = em.fit_skip_gram(centers, contexts, 6, 8, n_noise=1, **options)
    assert not torch.allclose(fewer, u, atol=0.1)


def test_keep_probability():
    keep = em.keep_probability(torch.tensor([8000, 1000, 10, 0]), threshold=0.1)
    share = 8000 / 9010
    assert keep.tolist() == pytest.approx([(0.1 / share) ** 0.5, (0.1 / (1000 / 9010)) ** 0.5, 1, 1])


def test_noise_probabilities():
    counts = torch.tensor([16.0, 0.0, 81.0])
    assert em.noise_probabilities(counts).tolist() == pytest.approx([8 / 35, 0, 27 / 35])
    assert em.noise_probabilities(counts, 0.0).tolist() == [0.5, 0, 0.5]
    assert em.noise_probabilities(counts, 1.0).tolist() == pytest.approx([16 / 97, 0, 81 / 97])


def test_learning_rate_falls_to_zero(monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    em.fit_skip_gram(torch.arange(10) % 3, torch.arange(10) % 4, 3, 4, d_model=2, epochs=2, batch_size=5, lr=0.4)
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_refusals():
    with pytest.raises(ValueError, match="d_model=0 does not fit"):
        em.factorize(draw(3, 4), 0)
    with pytest.raises(ValueError, match="clip it"):
        em.factorize(torch.full((2, 2), -math.inf), 1)
    with pytest.raises(ValueError, match="window=0 leaves no context"):
        em.window_pairs(torch.arange(4), 0)


def test_fakes_are_drawn_with_the_power_given():
    generator = torch.Generator().manual_seed(0)
    centers = torch.randint(3, (2000,), generator=generator)
    contexts = torch.randint(8, (2000,), generator=generator) ** 2 // 8  # 0 is common
    options = {"d_model": 2, "epochs": 1, "batch_size": 100}
    found = [em.fit_skip_gram(centers, contexts, 3, 7, power=power, **options)[1] for power in (0.0, 1.0)]
    assert not torch.allclose(*found, atol=0.01)


def test_small_facts_by_hand():
    torch.manual_seed(0)
    assert em.Embedding(500, 40).weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert em.cosines(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 4.0]])).item() == pytest.approx(0.8)
    joint, noise = torch.tensor([[0.5, 0.2], [0.1, 0.2]]), torch.tensor([0.9, 0.1])
    scores = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    want = sum(
        joint[w, c] * math.log1p(math.exp(-scores[w, c]))
        + 4 * joint[w].sum() * noise[c] * math.log1p(math.exp(scores[w, c]))
        for w in range(2)
        for c in range(2)
    )
    assert em.skip_gram_risk(scores, joint, noise, 4).item() == pytest.approx(want.item())
    cross = torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 9.0], [2.0, 1.0]])
    assert em.principal_components(cross)[1].tolist() == pytest.approx([16 / 17, 1 / 17])


def test_seed():
    centers, contexts = torch.arange(20) % 3, torch.arange(20) % 4
    runs = [em.fit_skip_gram(centers, contexts, 3, 4, d_model=2, epochs=1, seed=seed)[0] for seed in (0, 1, 1)]
    assert torch.equal(runs[1], runs[2]) and not torch.equal(runs[0], runs[1])
