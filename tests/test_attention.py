"""What would bore a reader of the chapter on attention: many shapes, other people's code, half precision, hooks."""
import copy
import itertools
import math
import pickle

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from llm_book import attention as at  # noqa: E402
from llm_book.layers import LayerNorm, Residual, RMSNorm  # noqa: E402

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
SHAPES = [(1, 1, 1, 1, 1, 4), (2, 6, 3, 5, 7, 8), (3, 4, 1, 1, 9, 16), (2, 4, 4, 6, 6, 8), (1, 8, 2, 3, 11, 5)]  # B H K T S Dh


def made_up(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def qkv(B, H, K, T, S, Dh, dtype=torch.float32):
    made = made_up(B, H, T, Dh, dtype=dtype), made_up(B, K, S, Dh, seed=1, dtype=dtype), made_up(B, K, S, Dh, seed=2, dtype=dtype)
    return [x.requires_grad_() for x in made]


def values_and_gradients(function, *inputs):
    y = function(*inputs)
    grads = torch.autograd.grad((y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum(), inputs)
    return [y, *grads]


def kinds(B, H, T, S):
    "Options, by name, for a shape."
    dead = at.causal()(T, S).clone()
    dead[0] = False
    real = torch.arange(S) < torch.arange(S, S - B, -1).clamp(min=1)[:, None]
    bias = made_up(H, T, S, seed=3)
    return {
        "plain": {},
        "causal": {"mask": at.causal()},
        "table": {"mask": at.causal()(T, S)},
        "dead row": {"mask": dead},
        "padding": {"mask": at.causal() & at.padding(real)},
        "bias": {"bias": bias},
        "bias of one text": {"bias": made_up(B, 1, T, S, seed=3)},
        "causal and bias": {"mask": at.causal(), "bias": bias},
        "bias that hides": {"bias": bias.masked_fill(~dead, -torch.inf)},
        "all hidden and bias": {"mask": dead, "bias": bias, "scale": 0.3},
        "scale": {"scale": 0.7},
        "cap": {"mask": dead, "softcap": 3.0},
        "sink": {"mask": dead, "sink": made_up(H, seed=4)},
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_hand_and_fused_agree_forward_and_backward(shape):
    B, H, K, T, S, Dh = shape
    for name, kind in kinds(B, H, T, S).items():
        by_hand = values_and_gradients(lambda q, k, v, kind=kind: at.attend(q, k, v, **kind)[0], *qkv(*shape))
        fused = values_and_gradients(lambda q, k, v, kind=kind: at.attend_fused(q, k, v, **kind), *qkv(*shape))
        for a, b in zip(by_hand, fused, strict=True):
            torch.testing.assert_close(a, b, **CLOSE, msg=lambda told, name=name: f"{name}: {told}")
            assert a.isfinite().all() and b.isfinite().all(), name
        if name in ("dead row", "bias that hides", "all hidden and bias", "cap", "sink"):
            assert by_hand[0][:, :, 0].abs().max() == 0 == fused[0][:, :, 0].abs().max(), name
            assert by_hand[1][:, :, 0].abs().max() == 0, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_by_hand_is_a_loop_over_the_formula(shape):
    B, H, K, T, S, Dh = shape
    q, k, v = (x.detach().double() for x in qkv(*shape))
    sink = made_up(H, seed=4).double()
    y, weights = at.attend(q, k, v, at.causal(), scale=0.4, softcap=2.0, sink=sink)
    for b, h, t in itertools.product(range(B), range(H), range(T)):
        seen = [s for s in range(S) if s - (S - T) <= t]
        scores = [2 * math.tanh(0.4 * float(q[b, h, t] @ k[b, h * K // H, s]) / 2) for s in seen]
        below = math.exp(sink[h]) + sum(map(math.exp, scores))
        for s in range(S):
            wanted = math.exp(scores[seen.index(s)]) / below if s in seen else 0.0
            assert math.isclose(weights[b, h, t, s].item(), wanted, rel_tol=1e-9, abs_tol=1e-12)
        torch.testing.assert_close(y[b, h, t], weights[b, h, t] @ v[b, h * K // H], rtol=1e-9, atol=1e-9)


def test_weights_pass_gradcheck():
    q, k, v = qkv(1, 2, 1, 3, 4, 2, dtype=torch.float64)
    sink = made_up(2, dtype=torch.float64).requires_grad_()
    table = at.causal()(3, 4).clone()
    table[1] = False
    assert torch.autograd.gradcheck(lambda q, k, v, sink: at.attend(q, k, v, table, softcap=2.0, sink=sink), (q, k, v, sink))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 200.0])
def test_half_precision_neither_overflows_nor_is_widened(dtype, size):
    shape = (2, 4, 2, 5, 6, 32)
    for name, kind in kinds(2, 4, 5, 6).items():
        inputs = [(x.detach() * scale).to(dtype).requires_grad_() for x, scale in zip(qkv(*shape), (size, size, 1), strict=True)]
        for function in (lambda *x, kind=kind: at.attend(*x, **kind)[0], lambda *x, kind=kind: at.attend_fused(*x, **kind)):
            found = values_and_gradients(function, *inputs)
            assert all(x.dtype == dtype and x.isfinite().all() for x in found), name
        if size == 1:
            exact = at.attend(*(x.double() for x in inputs), **kind)[0]
            torch.testing.assert_close(found[0].double(), exact, rtol=0, atol=0.05)


def test_softmax_far_out():
    scores = torch.tensor([[[1e30, -1e30, 0.0], [-1e30, -1e30, -1e30]]])
    assert at.masked_softmax(scores).tolist() == [[[1, 0, 0], [pytest.approx(1 / 3)] * 3]]
    hidden = torch.zeros(2, 3, dtype=torch.bool)
    assert at.masked_softmax(scores, hidden).abs().max() == 0
    assert at.masked_softmax(scores, hidden, sink=torch.tensor([-1e30])).abs().max() == 0
    assert at.masked_softmax(torch.full((1, 1, 2), -torch.inf)).abs().max() == 0
    sink = torch.tensor([1e4, -1e4]).requires_grad_()
    weights = at.masked_softmax(torch.zeros(2, 1, 3), sink=sink)
    assert weights.tolist() == [[[0.0] * 3], [[pytest.approx(1 / 3)] * 3]]
    assert torch.autograd.grad(weights.square().sum(), sink)[0].tolist() == [0, 0]
    assert at.masked_softmax(torch.zeros(2, 1, 1), sink=torch.tensor([0.0, math.log(3)])).flatten().tolist() == pytest.approx([1 / 2, 1 / 4])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_masks_combine_like_booleans(data):
    T = data.draw(st.integers(1, 6))
    S = data.draw(st.integers(T, 9))
    first = data.draw(st.integers(0, 3))
    ids = torch.tensor([[data.draw(st.integers(0, 2)) for _ in range(S + first)] for _ in range(2)])
    atoms = [at.causal(), at.full(), at.window(data.draw(st.integers(1, 4))), at.prefix(2), at.document(ids), at.padding(ids > 0)]
    a, b = data.draw(st.sampled_from(atoms)), data.draw(st.sampled_from(atoms))
    x, y = a(T, S, first), b(T, S, first)
    assert torch.equal((a & b)(T, S, first), x & y) and torch.equal((a | b)(T, S, first), x | y)
    assert torch.equal((~a)(T, S, first), ~x) and torch.equal((~(a & b))(T, S, first), (~a | ~b)(T, S, first))
    assert torch.equal(a(S, S, first)[..., S - T :, :], x)  # the queries are the last rows
    assert torch.equal(a(T, S + first)[..., first:], x)  # and a forgotten key is a column less
    assert x.dtype == torch.bool and x.shape[-2:] == (T, S)
    assert repr(a & ~b) == f"{a!r} & ~{b!r}" and repr(~(a | b) & a) == f"~({a!r} | {b!r}) & {a!r}"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_the_layer_is_pytorchs(bias, cross):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, bias=bias, kdim=10 if cross else None, vdim=10 if cross else None, batch_first=True)
    ours = at.Attention(12, 3, bias=bias, d_source=10 if cross else None)
    with torch.no_grad():
        packed = theirs.in_proj_weight.chunk(3) if not cross else (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
        if bias:
            nn.init.normal_(theirs.in_proj_bias)
            nn.init.normal_(theirs.out_proj.bias)
        for n, linear in enumerate((ours.q, ours.k, ours.v)):
            linear.weight.copy_(packed[n])
            if bias:
                linear.bias.copy_(theirs.in_proj_bias.chunk(3)[n])
        ours.out.load_state_dict(theirs.out_proj.state_dict())
    x = made_up(2, 5, 12).requires_grad_()
    source = made_up(2, 7, 10, seed=1).requires_grad_() if cross else x
    real = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])[:, : source.shape[1]]
    mine = ours(x, source if cross else None, mask=at.padding(real))
    other = theirs(x, source, source, key_padding_mask=~real, need_weights=False)[0]
    torch.testing.assert_close(mine, other, **CLOSE)
    grad = made_up(2, 5, 12, seed=2)
    inputs = (x, source) if cross else (x,)
    torch.testing.assert_close(torch.autograd.grad(mine, inputs, grad, retain_graph=True), torch.autograd.grad(other, inputs, grad, retain_graph=True), **CLOSE)
    mine.backward(grad)
    other.backward(grad)
    wanted = [p.grad for p in packed] if cross else theirs.in_proj_weight.grad.chunk(3)
    for linear, expected in zip((ours.q, ours.k, ours.v), wanted, strict=True):
        torch.testing.assert_close(linear.weight.grad, expected, **CLOSE)
    torch.testing.assert_close(ours.out.weight.grad, theirs.out_proj.weight.grad, **CLOSE)
    with at.watch_weights(ours) as seen:
        ours(x, source if cross else None, mask=at.padding(real))
    averaged = theirs(x, source, source, key_padding_mask=~real, need_weights=True, average_attn_weights=False)[1]
    torch.testing.assert_close(seen[0], averaged.detach(), **CLOSE)


OPTIONS = {
    "GPT-2": {"bias": True},
    "Llama": {"n_kv_heads": 2},
    "Qwen2": {"n_kv_heads": 2, "bias": True, "out_bias": False},
    "Qwen3": {"n_kv_heads": 2, "head_dim": 8, "qk_norm": "head"},
    "Gemma 2": {"n_kv_heads": 1, "head_dim": 10, "softcap": 50.0, "scale": 0.25},
    "Gemma 3": {"n_kv_heads": 1, "head_dim": 10, "qk_norm": "head", "scale": 0.25, "make_norm": lambda d: RMSNorm(d, unit_offset=True)},
    "OLMo 2": {"qk_norm": "all"},
    "gpt-oss": {"n_kv_heads": 2, "bias": True, "sink": True},
}


@pytest.mark.parametrize("family", OPTIONS)
def test_families(family):
    "What they have, that they don't leak, that watching changes nothing, and that they survive a copy."
    options = OPTIONS[family]
    torch.manual_seed(0)
    layer = at.Attention(12, 4, **options)
    for p in layer.parameters():
        nn.init.normal_(p, std=0.5)
    K, Dh = options.get("n_kv_heads", 4), options.get("head_dim", 3)
    names = {n for n, _ in layer.named_parameters()}
    assert {"q.bias", "k.bias", "v.bias"} <= names if options.get("bias") else not any("q.bias" in n for n in names)
    assert ("out.bias" in names) == options.get("out_bias", options.get("bias", False))
    assert ("q_norm.weight" in names) == ("qk_norm" in options) and ("sink" in names) == ("sink" in options)
    assert layer.k.weight.shape == layer.v.weight.shape == (K * Dh, 12) and layer.out.weight.shape == (12, 4 * Dh)
    x = made_up(2, 9, 12)
    at.assert_causal(lambda x: layer(x, mask=at.causal() & at.window(4)), x)
    y = layer(x, mask=at.causal())
    if "make_norm" not in options:
        assert torch.equal(pickle.loads(pickle.dumps(copy.deepcopy(layer)))(x, mask=at.causal()), y)
    with at.watch_weights(nn.Sequential(layer)) as seen:
        torch.testing.assert_close(layer(x, mask=at.causal()), y, **CLOSE)
    assert layer.watcher is None and seen[0].shape == (2, 4, 9, 9) and not seen[0].requires_grad
    sums = seen[0].sum(dim=-1)
    assert (sums < 1).all() if "sink" in options else torch.allclose(sums, torch.ones_like(sums))
    assert sum(at.attention_flops(12, 4, 9, None, K, Dh).values()) == 2 * 9 * sum(p.numel() for n, p in layer.named_parameters() if n[-6:] == "weight" and "norm" not in n) + 4 * 81 * 4 * Dh


def test_qk_norm_by_hand_in_both_places():
    x = made_up(2, 5, 12)
    for place in ("head", "all"):
        layer = at.Attention(12, 4, 2, qk_norm=place, make_norm=LayerNorm)
        with torch.no_grad():
            for norm in (layer.q_norm, layer.k_norm):
                norm.weight.copy_(torch.linspace(0.5, 2, norm.weight.numel()))
        q, k = layer.q(x), layer.k(x)
        for wide, norm, heads, found in ((q, layer.q_norm, 4, layer.project(x, x)[0]), (k, layer.k_norm, 2, layer.project(x, x)[1])):
            if place == "all":
                wanted = F.layer_norm(wide, wide.shape[-1:], norm.weight).view(2, 5, heads, 3)
            else:
                wanted = F.layer_norm(wide.view(2, 5, heads, 3), (3,), norm.weight)
            torch.testing.assert_close(found, wanted.transpose(1, 2), **CLOSE)
        assert torch.equal(layer.project(x, x)[2], layer.v(x).view(2, 5, 2, 3).transpose(1, 2))


def test_start_keeps_the_size_and_depth_scales_only_the_output():
    torch.manual_seed(0)
    layer = at.Attention(256, 4, n_layers=8)
    for linear in (layer.q, layer.k, layer.v):
        assert math.isclose(linear.weight.std().item(), 1 / 16, rel_tol=0.02)
    assert math.isclose(layer.out.weight.std().item(), 1 / 16 / 4, rel_tol=0.02)


class Remembers:
    def __init__(self, keep=None):
        self.n_seen, self.keep, self.held = 0, keep, None

    def update(self, k, v):
        self.n_seen += k.shape[2]
        self.held = (k, v) if self.held is None else tuple(torch.cat(pair, dim=2) for pair in zip(self.held, (k, v), strict=True))
        whole = self.held
        if self.keep:
            self.held = tuple(x[:, :, -self.keep :] for x in self.held)
        return whole


def shift(q, k, positions):
    "Not a rotation, but anything that depends on positions will do."
    angle = positions[..., None, :, None] if positions.ndim == 2 else positions[:, None]
    return q * torch.cos(angle), k * torch.cos(angle)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(list(OPTIONS)), st.booleans())
def test_any_chunking_with_a_cache_is_the_whole_text(sizes, family, forgetful):
    torch.manual_seed(1)
    layer, x = at.Attention(12, 4, **OPTIONS[family]), made_up(2, sum(sizes), 12)
    mask = at.causal() & at.window(3) if forgetful else at.causal() & (at.window(2) | at.prefix(3))
    cache = Remembers(keep=2 if forgetful else None)
    found = torch.cat([layer(chunk, mask=mask, rotate=shift, cache=cache) for chunk in x.split(sizes, dim=1)], dim=1)
    torch.testing.assert_close(found, layer(x, mask=mask, rotate=shift), rtol=1e-5, atol=1e-5)


def test_positions_may_be_given_for_each_text():
    layer, x = at.Attention(12, 4), made_up(2, 5, 12)
    counted = torch.arange(5)
    torch.testing.assert_close(layer(x, rotate=shift, positions=counted), layer(x, rotate=shift))
    apart = torch.stack([counted, counted + 7])
    both = layer(x, rotate=shift, positions=apart)
    torch.testing.assert_close(both[1:], layer(x[1:], rotate=shift, positions=counted + 7))
    torch.testing.assert_close(both[:1], layer(x[:1], rotate=shift))


def test_it_stands_in_a_residual_block_and_lists_what_it_saw():
    blocks = nn.ModuleList(Residual(at.Attention(12, 3), 12) for _ in range(3))
    x = made_up(2, 5, 12)
    with pytest.raises(KeyError), at.watch_weights(blocks) as seen:
        for block in blocks:
            x = block(x, mask=at.causal())
        raise KeyError
    assert len(seen) == 3 and all(block.sublayer.watcher is None for block in blocks)
    with at.watch_weights(blocks) as outer, at.watch_weights(blocks[0]) as inner:
        for block in blocks:
            x = block(x, mask=at.causal())
    assert len(inner) == 1 and len(outer) == 2


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_dropout_is_for_training(softcap):
    layer, x = at.Attention(12, 3, dropout=0.5, softcap=softcap), made_up(2, 5, 12)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    with at.watch_weights(layer.train()) as seen:
        layer(x)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, 5))  # what is watched is before dropout


def test_dependence_finds_planted_leaks():
    def peeks(x):
        y = x.clone()
        y[:, 2] = y[:, 2] + 1e-3 * x[:, 5]
        return y

    seen = at.dependence(peeks, made_up(2, 7, 3))
    assert seen.nonzero().tolist() == sorted([[t, t] for t in range(7)] + [[2, 5]])
    with pytest.raises(AssertionError, match=r"output 2 changes when input 5 does \(leak 1 of 1\)"):
        at.assert_causal(peeks, made_up(2, 7, 3))
    ids = torch.tensor([[0, 3, 1, 3, 2]])
    assert torch.equal(at.dependence(lambda ids: ids.cumsum(1), ids), torch.ones(5, 5).tril().bool())


def test_costs():
    assert at.attention_flops(8, 2, 3) == {"projections": 2 * 3 * 4 * 64, "weights": 4 * 9 * 8}
    assert at.attention_flops(8, 2, 1, 10, 1, 5, n_cached=9) == {"projections": 4 * 8 * 10 + 4 * 8 * 5, "weights": 4 * 10 * 10}
    assert at.cache_bytes(8192, 8, 128, 32) == 2**30


def test_as_transformers_computes_sinks_and_caps():
    "The plain attention of gpt-oss and of Gemma 2, on the same queries, keys and values."
    pytest.importorskip("transformers")
    from types import SimpleNamespace

    from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss

    q, k, v = (x.detach() for x in qkv(2, 6, 2, 7, 7, 8))
    sink, table = made_up(6, seed=5), at.causal()(7)
    added = torch.zeros(1, 1, 7, 7).masked_fill(~table, torch.finfo(torch.float32).min)
    module = SimpleNamespace(num_key_value_groups=3, sinks=sink, training=False, scaling=0.3, head_dim=8)
    theirs, weights = gpt_oss(module, q, k, v, added, scaling=0.3, dropout=0.0)
    ours, mine = at.attend(q, k, v, at.causal(), scale=0.3, sink=sink)
    torch.testing.assert_close(ours.transpose(1, 2), theirs, **CLOSE)
    torch.testing.assert_close(mine, weights, **CLOSE)
    theirs, weights = gemma2(module, q, k, v, added, dropout=0.0, scaling=0.3, softcap=1.5)
    ours, mine = at.attend(q, k, v, at.causal(), scale=0.3, softcap=1.5)
    torch.testing.assert_close(ours.transpose(1, 2), theirs, **CLOSE)
    torch.testing.assert_close(mine, weights, **CLOSE)


def test_leaks_are_found_wherever_they_are():
    "At distance one, in the second text only, and with two ids only."
    def peeks(x):
        y = x.clone()
        y[1, 3] = y[1, 3] + x[1, 4]
        return y

    with pytest.raises(AssertionError, match=r"output 3 changes when input 4 does \(leak 1 of 1\)"):
        at.assert_causal(peeks, made_up(2, 7, 3))
    ids = torch.tensor([[0, 1, 0, 1, 1]])
    assert torch.equal(at.dependence(lambda ids: ids.flip(1), ids), torch.eye(5).flip(0).bool())
    with pytest.raises(ValueError, match="call .eval"):
        at.dependence(lambda x: x + torch.rand(()), made_up(2, 3, 4))
    with pytest.raises(ValueError, match="all 0"):
        at.dependence(lambda ids: ids, torch.zeros(1, 3, dtype=torch.long))


def test_the_layer_hands_on_bias_scale_and_positions():
    layer, x, bias = at.Attention(12, 3, scale=0.9), made_up(2, 5, 12), made_up(3, 5, 5)
    wanted = at.attend(*layer.project(x, x), at.causal(), bias, scale=0.9)[0]
    torch.testing.assert_close(layer(x, mask=at.causal(), bias=bias), layer.out(at.merge_heads(wanted)), **CLOSE)
    assert not torch.allclose(layer(x, rotate=shift, positions=torch.arange(5) * 2), layer(x, rotate=shift), atol=1e-3)
    assert at.Attention(12, 3, sink=True).sink.tolist() == [0, 0, 0]


def test_a_cache_that_forgets_keeps_absolute_positions():
    layer, x, cache = at.Attention(12, 4), made_up(2, 9, 12), Remembers(keep=2)
    mask = at.causal() & at.window(3) & ~at.prefix(5)
    found = torch.cat([layer(chunk, mask=mask, cache=cache) for chunk in x.split([4, 1, 4], dim=1)], dim=1)
    torch.testing.assert_close(found, layer(x, mask=mask), rtol=1e-5, atol=1e-5)


def test_watching_keeps_the_order_and_gives_the_place_back():
    blocks, x = nn.Sequential(at.Attention(12, 3), at.Attention(12, 2)), made_up(2, 5, 12)
    with at.watch_weights(blocks) as outer:
        with at.watch_weights(blocks) as inner:
            blocks(x)
        assert not outer
        blocks(x)
    assert [w.shape[1] for w in inner] == [w.shape[1] for w in outer] == [3, 2]


@pytest.mark.parametrize("arguments, words", [
    ((12, 5), "d_model=12 is no multiple of n_heads=5"), ((12, 4, 3), "n_heads=4 is no multiple of n_kv_heads=3"),
    ((12, 2, 4), "n_heads=2 is no multiple of n_kv_heads=4"), ((12, 2, 0), "n_kv_heads=0 has to be 1 or more"), ((12, 0), "n_heads=0 has to be 1 or more"),
    ((0, 2), "d_model=0 has to be"), ((12, 2, None, -3), "head_dim=-3 has to be"),
])
def test_heads_that_make_no_sense(arguments, words):
    with pytest.raises(ValueError, match=words):
        at.Attention(*arguments)


def test_hooks_of_one_text_are_refused_for_another():
    layer, x = at.Attention(12, 3), made_up(2, 5, 12)
    for hook in ({"rotate": shift}, {"cache": Remembers()}):
        with pytest.raises(ValueError, match="with a source there is no rotate and no cache"):
            layer(x, x, **hook)
    with pytest.raises(ValueError, match="5 heads of keys"):
        at.attend(made_up(1, 6, 2, 4), made_up(1, 5, 2, 4), made_up(1, 5, 2, 4))
    with pytest.raises(ValueError, match="this mask knows 3 positions, and is asked for 5"):
        at.padding(torch.ones(1, 3, dtype=torch.bool))(2, 5)
    with pytest.raises(ValueError, match=r"x has the shape \(5, 12\); attention needs \(batch, positions, 12\)"):
        layer(x[0])
    with pytest.raises(ValueError, match=r"the source has the shape \(2, 5, 11\)"):
        layer(x, x[..., :11])


@pytest.mark.parametrize("attend", [at.attend, at.attend_fused])
def test_what_is_no_mask_is_refused_and_not_added(attend):
    "A float table would be taken for a bias, in silence."
    q = made_up(2, 3, 5, 4)
    for mask, kind in ((torch.ones(5, 5).tril(), "torch.float32"), (torch.ones(5, 5).long(), "torch.int64"), (at.causal, "function"), ([True], "list")):
        with pytest.raises(TypeError, match=f"mask is a {kind}; give a rule, such as causal"):
            attend(q, q, q, mask)
    for cap in (-1.0, 0.0):
        with pytest.raises(ValueError, match=f"softcap={cap} is no cap"):
            attend(q, q, q, softcap=cap)
    with pytest.raises(ValueError, match="5 queries can't be the last of 3 positions"):
        attend(q, q[:, :, :3], q[:, :, :3], at.causal())


def test_scale_zero_and_a_bias_of_another_type():
    "The causal kernel gives NaN at scale 0, and takes a bias only as float32 or in the type of the queries."
    q, k, v = (x.detach() for x in qkv(2, 4, 2, 5, 5, 8))
    means = at.attend_fused(q, k, v, at.causal(), scale=0.0)
    torch.testing.assert_close(means, at.attend(q, k, v, at.causal(), scale=0.0)[0], **CLOSE)
    torch.testing.assert_close(means[:, :, 1], v[:, :, :2].mean(dim=2).repeat_interleave(2, dim=1), **CLOSE)
    bias = made_up(4, 5, 5, seed=3).bfloat16()
    torch.testing.assert_close(at.attend_fused(q, k, v, bias=bias), at.attend(q, k, v, bias=bias)[0], **CLOSE)


def test_rope_is_such_a_rotation():
    "The hook of the chapter on positions fits, with a cache and with positions for each text."
    position = pytest.importorskip("llm_book.position")
    torch.manual_seed(0)
    layer, x, rope = at.Attention(16, 4, 2, qk_norm="head"), made_up(2, 7, 16), position.Rope(4)
    cache = Remembers()
    whole = layer(x, mask=at.causal(), rotate=rope.rotate)
    found = torch.cat([layer(chunk, mask=at.causal(), rotate=rope.rotate, cache=cache) for chunk in x.split([3, 1, 3], dim=1)], dim=1)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)
    apart = torch.stack([torch.arange(7), torch.arange(7) + 5])
    torch.testing.assert_close(layer(x, mask=at.causal(), rotate=rope.rotate, positions=apart), whole, rtol=1e-4, atol=1e-5)
