"""What would bore a reader of the chapter on layers: many shapes, other people's formulas, half precision, round trips."""
import copy
import math
import pickle

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from llm_book import layers as ly  # noqa: E402

SHAPES = [(3,), (4, 3), (2, 5, 16), (2, 1, 3, 7), (0, 4)]
FEED_FORWARD = [ly.MLP, ly.GatedMLP, ly.SwiGLU, ly.GeGLU]


def double(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("with_gain", [True, False])
def test_norms_forward_and_backward(shape, with_gain):
    x, grad_y = double(*shape).requires_grad_(), double(*shape, seed=1)
    gain, bias = double(2, shape[-1], seed=2)
    gain, bias = gain.requires_grad_(), bias.requires_grad_()
    used = (gain, bias) if with_gain else (None, None)
    close = {"rtol": 1e-10, "atol": 1e-10}

    ours, theirs = ly.layer_norm(x, *used), F.layer_norm(x, shape[-1:], *used)
    torch.testing.assert_close(ours, theirs, **close)
    wanted = torch.autograd.grad(theirs, (x, gain, bias) if with_gain else (x,), grad_y)
    found = ly.layer_norm_backward(grad_y, x, used[0])
    torch.testing.assert_close(found[: len(wanted)], wanted, **close)

    ours, theirs = ly.rms_norm(x, used[0]), F.rms_norm(x, shape[-1:], used[0], eps=1e-6)
    torch.testing.assert_close(ours, theirs, **close)
    wanted = torch.autograd.grad(theirs, (x, gain) if with_gain else (x,), grad_y)
    found = ly.rms_norm_backward(grad_y, x, used[0])
    torch.testing.assert_close(found[: len(wanted)], wanted, **close)


@pytest.mark.parametrize("eps", [1e-6, 1e-2, 1.0])
def test_eps_is_used_everywhere(eps):
    x, grad_y, gain = double(2, 5, 8).requires_grad_(), double(2, 5, 8, seed=1), double(8, seed=2).requires_grad_()
    pairs = [
        (F.layer_norm(x, (8,), gain, None, eps), ly.layer_norm_backward(grad_y, x, gain, eps)[:2]),
        (F.rms_norm(x, (8,), gain, eps), ly.rms_norm_backward(grad_y, x, gain, eps)),
    ]
    for y, found in pairs:
        torch.testing.assert_close(found, torch.autograd.grad(y, (x, gain), grad_y), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ly.LayerNorm(8, eps).double()(x), ly.layer_norm(x, eps=eps))
    torch.testing.assert_close(ly.LayerNorm(8, eps)(x), ly.layer_norm(x, eps=eps))  # float32 gain, float64 stream
    torch.testing.assert_close(ly.RMSNorm(8, eps)(x), ly.rms_norm(x, eps=eps))


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh", "silu", "relu2"])
def test_activations_in_all_precisions(function):
    f, table = getattr(ly, function), ly.ACTIVATIONS[function]
    x = torch.linspace(-8, 8, 401, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, x[1::7])
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)):
        y = f(x.to(dtype))
        assert y.dtype == dtype == table(x.to(dtype)).dtype
        torch.testing.assert_close(y, table(x.to(dtype)), rtol=tolerance, atol=tolerance)


def test_table_of_activations_is_the_functions_of_the_chapter():
    x = double(3, 50)
    formulas = {"gelu": ly.gelu, "gelu_tanh": ly.gelu_tanh, "silu": ly.silu, "relu2": ly.relu2}
    formulas |= {"relu": lambda x: x.clamp(min=0), "identity": lambda x: x}
    assert formulas.keys() == ly.ACTIVATIONS.keys()
    for name, f in formulas.items():
        torch.testing.assert_close(ly.find_activation(name)(x), f(x), rtol=1e-10, atol=1e-10)


def test_norms_as_llama_gemma_and_olmo_write_them():
    "Formulas of their public code, on bfloat16 streams."
    x, w = double(2, 5, 16).bfloat16(), double(16, seed=1).bfloat16()

    def llama(x, weight, eps):
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)

    def gemma(x, weight, eps):
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * (1.0 + weight.float())).type_as(x)

    assert torch.equal(ly.rms_norm(x, w, 1e-6, unit_offset=True), gemma(x, w, 1e-6))
    torch.testing.assert_close(ly.rms_norm(x, w, 1e-5), llama(x, w, 1e-5), rtol=1.6e-2, atol=0)
    olmo = ly.LayerNorm(16, affine=False)
    assert not list(olmo.parameters())
    torch.testing.assert_close(olmo(x.float()), F.layer_norm(x.float(), (16,), eps=1e-5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_streams_through_float32_layers(dtype):
    x = torch.full((2, 3, 8), 300.0, dtype=dtype) * torch.tensor([1, -1] * 4, dtype=dtype)
    for norm in (ly.LayerNorm(8), ly.RMSNorm(8), ly.RMSNorm(8, unit_offset=True), ly.LayerNorm(8, affine=False)):
        y = norm(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), x.float().sign(), rtol=1e-2, atol=0)
        assert ly.Residual(nn.Identity(), 8, "sandwich", make_norm=lambda d, norm=norm: norm)(x).dtype == dtype
    grad_x = ly.rms_norm_backward(x, x)[0]
    assert grad_x.dtype == dtype and grad_x.isfinite().all()
    grad_x, _, grad_bias = ly.layer_norm_backward(x, x)
    assert grad_x.dtype == dtype and grad_bias.dtype == torch.float32


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(0, 2**31), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_norms_do_not_see_what_they_should_not(width, seed, factor, shift):
    x = double(3, width, seed=seed)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(ly.layer_norm(factor * x + shift, eps=0), ly.layer_norm(x, eps=0), **close)
    torch.testing.assert_close(ly.rms_norm(factor * x, eps=0), ly.rms_norm(x, eps=0), **close)
    assert torch.equal(ly.rms_norm(x.flip(0)), ly.rms_norm(x).flip(0))  # tokens don't know each other
    changed = torch.cat([x[:2], -x[2:]])
    assert torch.equal(ly.layer_norm(changed)[:2], ly.layer_norm(x)[:2])


@pytest.mark.parametrize("make", FEED_FORWARD)
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_layers(make, bias):
    torch.manual_seed(0)
    layer = make(12, d_ff=20, bias=bias)
    names = {"up", "down"} | (set() if make is ly.MLP else {"gate"})
    assert {name.split(".")[0] for name in layer.state_dict()} == names
    assert all(("bias" in name) <= bias for name in layer.state_dict())
    x = torch.randn(2, 5, 12)
    clone = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    assert torch.equal(clone(x), layer(x)) and layer(x[0]).shape == (5, 12)
    assert torch.equal(layer(x)[:, 1:], layer(torch.cat([x[:, :1] + 1, x[:, 1:]], 1))[:, 1:])


@pytest.mark.parametrize("make", FEED_FORWARD)
def test_depth_scaling_reaches_only_what_writes_to_the_stream(make):
    def std(n_layers):
        torch.manual_seed(0)
        return {n: p.std().item() for n, p in make(64, 256, n_layers=n_layers).named_parameters() if "weight" in n}

    plain, deep = std(None), std(8)
    for name in plain:
        assert math.isclose(deep[name] / plain[name], 0.25 if "down" in name else 1.0, rel_tol=1e-5), name
    for name in ("up.weight", "gate.weight"):
        assert name not in plain or math.isclose(plain[name], 64**-0.5, rel_tol=0.03)


def test_default_widths():
    assert ly.MLP(12).up.out_features == 48
    assert [ly.gated_width(d, m) for d, m in ((768, 8), (100, 8), (4096, 256), (5120, 256))] == [2048, 272, 11008, 13824]
    assert ly.SwiGLU(100).gate.out_features == ly.GeGLU(100).up.out_features == 272


def test_residual_is_a_transformer_encoder_layer_without_attention():
    "PyTorch's block with its attention silenced, in both of the orders that it knows."
    for norm_first, place in ((True, "pre"), (False, "post")):
        torch.manual_seed(0)
        theirs = nn.TransformerEncoderLayer(12, 3, 40, 0.0, "gelu", batch_first=True, norm_first=norm_first)
        nn.init.zeros_(theirs.self_attn.out_proj.weight)
        block = ly.Residual(ly.MLP(12, 40), 12, place, make_norm=ly.LayerNorm)
        with torch.no_grad():
            for ours, linear in ((block.sublayer.up, theirs.linear1), (block.sublayer.down, theirs.linear2)):
                ours.load_state_dict(linear.state_dict())
        x = torch.randn(2, 5, 12)
        reads = x if norm_first else F.layer_norm(x, (12,))  # its first post-norm follows the silent attention
        torch.testing.assert_close(block(reads), theirs(x))


def test_residual_keeps_its_parts_apart():
    made = []

    def make(d_model):
        made.append(ly.RMSNorm(d_model))
        return made[-1]

    block = ly.Residual(nn.Identity(), 4, "sandwich", make_norm=make)
    assert len(made) == 2 and block.norm_in is made[0] and block.norm_out is made[1]
    assert isinstance(block.norm_after, nn.Identity)
    for place, slots in ly.NORM_PLACES.items():
        found = {n.split(".")[0] for n in ly.Residual(nn.Identity(), 4, place).state_dict()}
        assert found == set(slots)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout(p):
    x = torch.randn(400, 300, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = ly.dropout(x, p, generator=torch.Generator().manual_seed(1))
    kept = y != 0
    assert abs(kept.float().mean() - (1 - p)) < 0.01
    torch.testing.assert_close(y[kept], x[kept] / (1 - p))
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad, kept / (1 - p))
    assert ly.dropout(x, p, training=False) is x
    layer = ly.Dropout(p)
    assert (layer(x) == 0).any() and layer.eval()(x) is x
    block = ly.Residual(nn.Identity(), 300, "none", dropout=p)
    assert torch.equal(block(x) == x, block(x) == x) is False  # another mask each time
    assert torch.equal(block.eval()(x), 2 * x)
