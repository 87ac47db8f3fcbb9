"""What would bore a reader of the chapter on positions: transformers' code for the same, many sizes, devices, compilers."""
import copy
import json
import math
import pickle
from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from llm_book import position as po  # noqa: E402

PLACES = {"near": range(0, 40), "far": range(4000, 4096), "very far": [100_000, 131_071]}
SCALINGS = {
    "default": None,
    "linear": po.RopeScaling("linear", 4.0),
    "dynamic": po.RopeScaling("dynamic", 2.0, 64),
    "llama3": po.RopeScaling("llama3", 8.0, 512),
    "llama3, other factors": po.RopeScaling("llama3", 32.0, 8192, low_freq_factor=1.5, high_freq_factor=6.0),
    "yarn": po.RopeScaling("yarn", 4.0, 512),
    "yarn, other betas": po.RopeScaling("yarn", 16.0, 4096, beta_slow=2.0, beta_fast=20.0, attention_factor=1.1),
    "yarn, not truncated": po.RopeScaling("yarn", 40.0, 4096, truncate=False),
}


def turned(rope, x, positions):
    "Turn `x` as queries, and see that keys of fewer heads are turned alike."
    q, k = rope.rotate(x, x[..., :1, :, :], positions)
    assert torch.equal(k, q[..., :1, :, :])
    return q


def their_parameters(scaling, base, context):
    "The `rope_parameters` of transformers for ours."
    if scaling is None:
        return {"rope_type": "default", "rope_theta": base}
    names = {"kind": "rope_type", "original_context": "original_max_position_embeddings"}
    fields = {names.get(name, name): value for name, value in asdict(scaling).items() if value is not None}
    used = {
        "linear": set(),
        "dynamic": set(),
        "llama3": {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
        "yarn": {"beta_slow", "beta_fast", "truncate", "attention_factor", "original_max_position_embeddings"},
    }[scaling.kind]
    return {name: fields[name] for name in fields if name in used | {"rope_type", "factor"}} | {"rope_theta": base}


def llama(scaling, base=10_000.0, head_dim=64, context=64):
    pytest.importorskip("transformers")
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama

    config = LlamaConfig(
        hidden_size=3 * head_dim, num_attention_heads=3, head_dim=head_dim, max_position_embeddings=context,
        rope_parameters=their_parameters(scaling, base, context),
    )
    return modeling_llama.LlamaRotaryEmbedding(config), modeling_llama


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", SCALINGS)
def test_rope_equals_llama(name, places, base):
    theirs, module = llama(SCALINGS[name], base)
    positions = torch.tensor([list(PLACES[places])])
    q = torch.randn(2, 3, positions.shape[1], 64, generator=torch.Generator().manual_seed(0))
    rope = po.Rope(64, base, SCALINGS[name])
    wanted = theirs(q, positions)
    cos, sin = rope(positions)
    # angles of a hundred thousand radians are rounded to some thousandths: there the speeds themselves are compared
    # (and transformers rounds dynamic scaling's base to float32)
    if places == "very far" and name not in ("default", "linear") or places == "far" and name == "dynamic":
        speeds = po.rope_frequencies(64, base, SCALINGS[name], int(positions.max()) + 1)
        torch.testing.assert_close(speeds, theirs.inv_freq, rtol=1e-6, atol=0)
        return
    torch.testing.assert_close(torch.cat([cos, cos], dim=-1), wanted[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.cat([sin, sin], dim=-1), wanted[1], rtol=0, atol=1e-6)
    wanted = module.apply_rotary_pos_emb(q, q, *wanted)[0]
    torch.testing.assert_close(turned(rope, q, positions), wanted, rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize(("base", "context"), [(10_000.0, 40), (10.0, 849), (1e6, 8), (10_000.0, 6)])
def test_yarn_where_its_ramp_leaves_the_hands(base, context):
    scaling = po.RopeScaling("yarn", 4.0, context)
    theirs, _ = llama(scaling, base)
    torch.testing.assert_close(po.rope_frequencies(64, base, scaling), theirs.inv_freq, rtol=1e-6, atol=0)


@pytest.mark.parametrize("length", [1, 64, 65, 100, 1000])
def test_dynamic_follows_the_length(length):
    theirs, _ = llama(SCALINGS["dynamic"])
    positions = torch.arange(length)[None]
    wanted = theirs(torch.zeros(1), positions)
    cos, sin = po.Rope(64, 10_000.0, SCALINGS["dynamic"])(positions)
    torch.testing.assert_close(cos, wanted[0][..., :32], rtol=0, atol=1e-6)
    torch.testing.assert_close(sin, wanted[1][..., :32], rtol=0, atol=1e-6)


def test_gradient_equals_llama():
    theirs, module = llama(None)
    positions = torch.stack([torch.arange(9), torch.arange(9) + 17])
    q, grad = torch.randn(2, 2, 3, 9, 64, generator=torch.Generator().manual_seed(0))
    grads = []
    for turn in (
        lambda x: turned(po.Rope(64), x, positions),
        lambda x: module.apply_rotary_pos_emb(x, x, *theirs(x, positions))[0],
    ):
        x = q.clone().requires_grad_()
        turn(x).backward(grad)
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-6)


def test_gemma3_has_a_base_per_kind_of_layer():
    pytest.importorskip("transformers")
    from transformers import Gemma3TextConfig
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

    layers = {
        "sliding_attention": (po.Rope(32, 10_000.0), {"rope_type": "default", "rope_theta": 10_000.0}),
        "full_attention": (
            po.Rope(32, 1_000_000.0, po.RopeScaling("linear", 8.0)),
            {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        ),
    }
    config = Gemma3TextConfig(head_dim=32, num_hidden_layers=2, layer_types=list(layers),
                              rope_parameters={kind: theirs for kind, (_, theirs) in layers.items()})
    theirs, positions = Gemma3RotaryEmbedding(config), torch.arange(3000, 3040)[None]
    for kind, (rope, _) in layers.items():
        wanted = theirs(torch.zeros(1), positions, kind)
        for ours, other in zip(rope(positions), wanted, strict=True):
            torch.testing.assert_close(torch.cat([ours, ours], dim=-1), other, rtol=0, atol=1e-6)


def test_partial_rotation_equals_gpt_neox():
    pytest.importorskip("transformers")
    from transformers import GPTNeoXConfig
    from transformers.models.gpt_neox import modeling_gpt_neox

    parameters = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.25}
    config = GPTNeoXConfig(hidden_size=3 * 32, num_attention_heads=3, rope_parameters=parameters)
    theirs = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)
    q, positions = torch.randn(2, 3, 9, 32, generator=torch.Generator().manual_seed(0)), torch.arange(9)[None]
    wanted = modeling_gpt_neox.apply_rotary_pos_emb(q, q, *theirs(q, positions))[0]
    rope = po.Rope(32, rotary_dim=8)
    torch.testing.assert_close(turned(rope, q, positions), wanted, rtol=1e-6, atol=1e-6)


def test_interleaved_equals_gpt_j():
    pytest.importorskip("transformers")
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    q = torch.randn(2, 3, 9, 32, generator=torch.Generator().manual_seed(0))
    sin, cos = create_sinusoidal_positions(9, 16).chunk(2, dim=-1)
    first = apply_rotary_pos_emb(q.transpose(1, 2)[..., :16], sin[None], cos[None]).transpose(1, 2)
    rope = po.Rope(32, layout="interleaved", rotary_dim=16)
    ours = turned(rope, q, torch.arange(9))
    torch.testing.assert_close(ours, torch.cat([first, q[..., 16:]], dim=-1), rtol=1e-6, atol=1e-6)


def test_sinusoids_equal_marian():
    pytest.importorskip("transformers")
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    theirs = MarianSinusoidalPositionalEmbedding(600, 24).create_weight()  # sines first, then cosines
    ours = po.sinusoidal(torch.arange(600), 24, dtype=torch.float64).float()
    torch.testing.assert_close(torch.cat([ours[:, 0::2], ours[:, 1::2]], dim=-1), theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(po.sinusoidal(torch.arange(600), 24), ours, rtol=0, atol=1e-4)


def test_learned_equals_gpt2():
    pytest.importorskip("transformers")
    table, theirs = po.LearnedPositions(30, 8), torch.nn.Embedding(30, 8)
    theirs.load_state_dict(table.state_dict())
    positions = torch.tensor([[0, 29, 3]])
    assert torch.equal(table(positions), theirs(positions))


@pytest.mark.parametrize("n_heads", [1, 2, 3, 6, 8, 12, 16, 20, 40, 112])
def test_alibi_equals_bloom(n_heads):
    pytest.importorskip("transformers")
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 17, dtype=torch.long), n_heads, torch.float32)  # (H, 1, S)
    at = torch.arange(17)
    ours = po.Alibi(n_heads)(at, at)  # the same but for a constant in each row, which a softmax ignores
    ours, theirs = ours.tril(), theirs.expand(-1, 17, -1) - theirs.mT
    torch.testing.assert_close(ours, theirs.tril(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_heads", [1, 4, 16])
def test_alibi_equals_mpt(n_heads):
    pytest.importorskip("transformers")
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    theirs = build_mpt_alibi_tensor(n_heads, 9)  # for powers of two the same as in the paper
    torch.testing.assert_close(po.Alibi(n_heads)(torch.tensor([8]), torch.arange(9)), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 20), (64, 1000), (10, 77)])
def test_buckets_equal_t5(n_buckets, max_distance, bidirectional):
    pytest.importorskip("transformers")
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-3 * max_distance, 3 * max_distance)
    theirs = T5Attention._relative_position_bucket(-distance, bidirectional, n_buckets, max_distance)
    assert torch.equal(po.t5_bucket(distance, n_buckets, max_distance, bidirectional), theirs)


@pytest.mark.parametrize("is_decoder", [True, False])
def test_relative_bias_equals_t5(is_decoder):
    pytest.importorskip("transformers")
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=16, num_heads=4, d_kv=4, is_decoder=is_decoder)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    ours = po.RelativeBias(4, bidirectional=not is_decoder)
    ours.weight.data = theirs.relative_attention_bias.weight.data
    at = torch.arange(200)
    assert torch.equal(ours(at, at)[None], theirs.compute_bias(200, 200))
    assert torch.equal(ours(at[150:], at)[None], theirs.compute_bias(50, 200, past_seen_tokens=150))


def test_bucket_edges_where_logarithms_are_close():
    "Every edge is where exact arithmetic has it: the smallest a with (a/e)^(N−e) ≥ (m/e)^j."
    for n_buckets, far in ((32, 128), (16, 64), (64, 1024), (8, 64)):
        exact = n_buckets // 2
        rest = n_buckets - exact
        distances = torch.arange(2 * far)
        found = po.t5_bucket(distances, n_buckets, far, bidirectional=False).tolist()
        for a in range(exact, 2 * far):
            j = sum(a**rest * exact**j >= far**j * exact**rest for j in range(1, rest))
            assert found[a] == exact + j, (n_buckets, far, a)


@settings(max_examples=60, deadline=None)
@given(
    hands=st.integers(1, 9), extra=st.integers(0, 3), shift=st.integers(-5000, 5000), base=st.floats(1.5, 1e6),
    layout=st.sampled_from(po.LAYOUTS), seed=st.integers(0, 9),
)
def test_scores_depend_on_the_distance_only(hands, extra, shift, base, layout, seed):
    head_dim = 2 * hands + extra
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 2, 3, 5, head_dim, dtype=torch.float64, generator=generator)
    rope = po.Rope(head_dim, base, layout=layout, rotary_dim=2 * hands, dtype=torch.float64)
    scores = []
    for start in (0, shift):
        q_turned, k_turned = rope.rotate(q, k, torch.arange(5) + start)
        torch.testing.assert_close(q_turned.norm(dim=-1), q.norm(dim=-1))
        scores.append(q_turned @ k_turned.mT)
    torch.testing.assert_close(*scores, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", po.SCALINGS)
def test_scalings_slow_only_and_at_most_by_the_factor(kind):
    for head_dim, base, context in ((64, 10_000.0, 2048), (128, 500_000.0, 8192), (256, 10_000.0, 1024)):
        plain = po.frequencies(head_dim, base, torch.float64)
        for factor in (1.0, 1.5, 8.0):
            scaling = po.RopeScaling(kind, factor, context)
            slowdown = plain / po.rope_frequencies(head_dim, base, scaling, dtype=torch.float64)
            assert (slowdown > 1 - 1e-12).all() and (slowdown < factor + 1e-9).all()
            assert (slowdown.diff() > -1e-12).all()  # never a slow hand less than a fast one
            if factor == 1:
                torch.testing.assert_close(slowdown, torch.ones_like(slowdown))


def test_length_matters_for_dynamic_only():
    for kind in po.SCALINGS:
        scaling = po.RopeScaling(kind, 4.0, 100)
        short, long = (po.rope_frequencies(16, scaling=scaling, length=n) for n in (50, 400))
        assert torch.equal(short, long) == (kind != "dynamic")


def test_configuration_travels_as_json_and_modules_as_copies():
    for scaling in SCALINGS.values():
        if scaling is not None:
            assert po.RopeScaling(**json.loads(json.dumps(asdict(scaling)))) == scaling
            assert hash(scaling) == hash(copy.deepcopy(scaling))
        rope = po.Rope(16, scaling=scaling)
        for twin in (copy.deepcopy(rope), pickle.loads(pickle.dumps(rope))):
            assert torch.equal(twin(torch.arange(200))[0], rope(torch.arange(200))[0])
    with pytest.raises(AttributeError):
        SCALINGS["yarn"].factor = 3.0


def test_no_cast_and_no_meta_device_reaches_the_speeds():
    with torch.device("meta"):
        rope, alibi, relative = po.Rope(16), po.Alibi(4), po.RelativeBias(4)
    assert relative.weight.device.type == "meta"
    for module in (rope, alibi):
        module.to(torch.float16).to_empty(device="cpu")
    at = torch.arange(5)
    assert torch.equal(rope(at)[1], po.Rope(16)(at)[1])
    assert torch.equal(alibi(at, at), po.Alibi(4)(at, at))
    assert not rope.state_dict() and not alibi.state_dict()


def test_everything_compiles_as_one_graph():
    rope, alibi, relative = po.Rope(16, layout="interleaved"), po.Alibi(3), po.RelativeBias(3)
    relative.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    table = po.LearnedPositions(9, 16)

    def everything(x, at):
        q, k = rope.rotate(x + table(at), x + po.sinusoidal(at, 16), at)
        return q @ k.mT + alibi(at, at) + relative(at, at)

    x, at = torch.randn(2, 3, 7, 16, generator=torch.Generator().manual_seed(0)), torch.arange(7)
    compiled = torch.compile(everything, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, at), everything(x, at))


def test_types_in_are_types_out():
    for layout in po.LAYOUTS:
        rope = po.Rope(8, layout=layout, rotary_dim=6)
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
            assert turned(rope, x, torch.arange(5)).dtype == dtype
    for positions in (torch.arange(5, dtype=torch.int32), torch.arange(5)):
        assert torch.equal(rope(positions)[0], rope(torch.arange(5))[0])
        assert po.sinusoidal(positions, 4).dtype == torch.float32
        assert po.RelativeBias(2)(positions, positions).shape == (2, 5, 5)


def test_empty_and_single():
    rope, none = po.Rope(8), torch.arange(0)
    assert turned(rope, torch.zeros(2, 3, 0, 8), none).shape == (2, 3, 0, 8)
    assert po.Alibi(3)(none, torch.arange(4)).shape == (3, 0, 4)
    assert po.RelativeBias(3)(torch.arange(1), none).shape == (3, 1, 0)
    assert po.alibi_slopes(1).tolist() == [2**-8]
    assert math.isclose(po.RopeScaling("yarn", math.e**2, 64).magnitude, 1.2)
