"What would bore a reader of the chapter on data: kills at random moments, flipped bits, little memory, processes, many sizes."
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from llm_book import data as da  # noqa: E402

TEXTS = [f"document {n} " + "abc " * (n % 37) for n in range(400)]
OPTIONS = {"vocab_size": 257, "bos": 256, "shard_tokens": 4000}


def encode(text):
    return list(text.encode())


def python(code, *args):
    "A Python that runs `code`, with what every such program here needs."
    head = "import sys\nfrom llm_book import data as da\nencode = lambda text: list(text.encode())\n"
    return [sys.executable, "-c", head + textwrap.dedent(code), *map(str, args)]


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def shards(tmp_path):
    return da.write_shards(TEXTS, tmp_path / "shards", encode, **OPTIONS)


# Text

@pytest.mark.parametrize("text", ["naïve café", "Straße", "¿Qué? ¡Sí!", "plain", "日本", "x" * 1000, ""])
def test_encoding_is_repaired_and_nothing_else_changes(text):
    assert da.repair_encoding(text) == text
    try:
        broken = text.encode().decode("cp1252")
    except UnicodeDecodeError:
        return
    assert da.repair_encoding(broken) == text


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_tidy_twice_is_once_but_for_a_second_repair(text):
    once = da.tidy(text)
    if da.repair_encoding(once) == once:
        assert da.tidy(once) == once
    assert "  " not in once and once == once.strip()


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab1.@-() 5", max_size=60))
def test_found_spans_are_inside_and_redacted(text):
    for first, last, kind in da.find_personal(text):
        assert 0 <= first < last <= len(text) and kind in da.PERSONAL
    da.redact(text)


@pytest.mark.parametrize(
    "text, kinds",
    [
        ("a@b.org, c.d+e@f-g.co.uk", ["email", "email"]),
        ("0.0.0.0 and 255.255.255.255", ["ip", "ip"]),
        ("256.0.0.1 1.2.3 1.2.3.4.5 v1.2.3.4", []),
        ("version 1.2.3.4, Version 1.2.3.4", []),
        ("555-0100 (202) 555-0100 +1 202 555 0100", ["phone", "phone", "phone"]),
        ("1555-0100 555-01000 555-0100-A", []),
    ],
)
def test_personal_data_by_hand(text, kinds):
    assert [kind for *_, kind in da.find_personal(text)] == kinds


# Copies

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_groups_are_connected_components(pairs):
    label = da.groups(20, pairs)
    reach = [{n} for n in range(20)]
    for _ in range(20):
        for a, b in pairs:
            reach[a] = reach[b] = reach[a] | reach[b]
            for n in reach[a]:
                reach[n] = reach[a]
    assert label == [min(part) for part in reach]


def test_signatures_depend_on_the_set_alone():
    a, b = da.minhash([{"x", "y", "z"}, {"q"}], 16), da.minhash([["z", "y", "x"]], 16)
    assert (a[0] == b[0]).all() and a.shape == (2, 16)
    assert (a[0] != da.minhash([{"x", "y", "z"}], 16, seed=1)[0]).all()
    assert da.minhash([], 16).shape == (0, 16)
    long = da.minhash([{"x", "y"}], 32)[0]
    assert len(set(long.tolist())) == 32


def test_lsh_finds_exactly_those_that_agree_in_a_band():
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 3, size=(40, 12)).astype(np.uint64)
    for n_bands in (1, 3, 4, 12):
        bands = signatures.reshape(40, n_bands, -1)
        wanted = {
            (i, j) for i in range(40) for j in range(i + 1, 40) if (bands[i] == bands[j]).all(-1).any()
        }
        assert da.lsh_pairs(signatures, n_bands) == wanted


def test_scramble_is_a_bijection_and_its_key_matters():
    x = np.arange(50_000, dtype=np.uint64)
    assert len(np.unique(da.scramble(x, 3))) == len(x)
    assert (da.scramble(x, 3) != da.scramble(x, 4)).all()
    bits = np.unpackbits(da.scramble(x, 1).view(np.uint8)).mean()
    assert abs(bits - 0.5) < 0.002


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=5, max_size=40), st.integers(0, 5))
def test_split_keeps_groups_together(label, seed):
    sizes = [1 + n % 3 for n in range(len(label))]
    try:
        train, test = da.split_groups(label, sizes, 0.4, seed)
    except ValueError:
        return
    assert sorted(train + test) == list(range(len(label)))
    assert not {label[n] for n in train} & {label[n] for n in test}
    assert 0 < sum(sizes[n] for n in test) <= 0.4 * sum(sizes)


# Shards

KILLED = """
    import time
    def slow(text):
        time.sleep(0.001)
        return encode(text)
    texts = [f"document {n} " + "abc " * (n % 37) for n in range(400)]
    da.write_shards(texts, sys.argv[1], slow, vocab_size=257, bos=256, shard_tokens=4000)
"""


def test_killed_at_random_moments(tmp_path, shards):
    wanted, rng, n_kills = contents(shards.folder), random.Random(0), 0
    folder = tmp_path / "killed"
    for _ in range(3):  # dies; the fourth call comes through
        process = subprocess.Popen(python(KILLED, folder), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        before = len(list(folder.glob("*.ids"))) if folder.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
            if folder.exists() and len(list(folder.glob("*.ids"))) > before + rng.randrange(3):
                process.send_signal(signal.SIGKILL)
                break
        n_kills += process.wait() == -signal.SIGKILL
        if not (folder / da.MANIFEST).exists():
            with pytest.raises(ValueError, match="unfinished|no manifest"):
                da.Shards(folder)
    assert n_kills >= 1
    da.write_shards(TEXTS, folder, encode, **OPTIONS)
    found = contents(folder)
    assert {name: found[name] for name in wanted} == wanted
    assert all(name in wanted or name.endswith(".aside") for name in found)


def test_every_corruption_is_refused(shards):
    rng, wanted = random.Random(0), contents(shards.folder)
    for trial in range(150):
        name = rng.choice(sorted(wanted))
        data = bytearray(wanted[name])
        kind = trial % 3
        if kind == 0:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[rng.randrange(len(data)) :]
        else:
            other = rng.choice([n for n in sorted(wanted) if wanted[n] != wanted[name]])
            data = bytearray(wanted[other])
        (shards.folder / name).write_bytes(data)
        with pytest.raises(ValueError) as error:
            da.Shards(shards.folder)
        assert name in str(error.value) and "\n" not in str(error.value)
        (shards.folder / name).write_bytes(wanted[name])
    assert len(da.Shards(shards.folder)) == len(shards)


def test_wide_vocabulary_and_empty_documents(tmp_path):
    ids = {"": [], "a": [70_000, 0, 99_999], "b": [65_536]}
    shards = da.write_shards(["", "a", "", "b", ""], tmp_path / "w", ids.get, 100_000, shard_tokens=3)
    assert shards[:].tolist() == [70_000, 0, 99_999, 65_536]
    assert shards.lengths().tolist() == [0, 3, 0, 1, 0] and shards.n_documents == 5
    assert [shards.bounds(n) for n in range(5)] == [(0, 0), (0, 3), (3, 3), (3, 4), (4, 4)]
    assert (tmp_path / "w" / "shard-00000.ids").stat().st_size == 12
    with pytest.raises(IndexError):
        shards.bounds(5)
    with pytest.raises(ValueError, match="-1 is not in a vocabulary"):
        da.write_shards(["x"], tmp_path / "v", lambda text: [-1], 5)


def test_a_finished_folder_is_taken_as_it_is(shards):
    before = {file.name: file.stat().st_mtime_ns for file in shards.folder.iterdir()}

    def never(text):
        raise AssertionError("tokenized again")

    again = da.write_shards(iter(TEXTS), shards.folder, never, **OPTIONS)
    assert again[:].tolist() == shards[:].tolist()
    assert before == {file.name: file.stat().st_mtime_ns for file in shards.folder.iterdir()}


def test_more_data_than_memory(tmp_path):
    "A shard of 600 MB read by a process that may have 150 MB more than an empty one."
    pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("RLIMIT_DATA counts private memory on Linux only")
    folder = tmp_path / "big"
    da.write_shards(["a"], folder, lambda text: [1, 2], 300)
    n, path = 300_000_000, folder / da.MANIFEST
    manifest = da.read_manifest(path)
    manifest["shards"][0]["n_tokens"] = n
    os.truncate(folder / "shard-00000.ids", 2 * n)  # sparse: takes no room on the disk
    with open(folder / "shard-00000.ends", "wb") as file:
        file.write(np.array([n], dtype="<i8").tobytes())
    da.write_manifest(path, manifest)
    program = """
        import resource
        used = int(next(x for x in open("/proc/self/status") if x.startswith("VmData")).split()[1]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + 150_000_000,) * 2)
        shards = da.Shards(sys.argv[1], verify=False)
        if sys.argv[2] == "map":
            loader = da.Loader(da.Windows(shards, 1024), 16, n_workers=2)
            from itertools import islice
            print(sum(batch[0].numel() for batch in islice(loader, 50)), len(shards))
        else:
            import numpy as np
            print(len(np.fromfile(sys.argv[1] + "/shard-00000.ids", dtype="u2")))
    """
    run = subprocess.run(python(program, folder, "map"), capture_output=True, text=True)
    assert run.stdout.split() == [str(50 * 16 * 1024), str(n)], run.stderr
    run = subprocess.run(python(program, folder, "read"), capture_output=True, text=True)
    assert "MemoryError" in run.stderr  # so the limit bites


# Rows and batches

@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**60))
def test_shuffled_permutes(n, key):
    at = da.shuffled(np.arange(n), n, key)
    assert np.array_equal(np.sort(at), np.arange(n))
    some = np.arange(n)[:: max(1, n // 7)]
    assert np.array_equal(da.shuffled(some, n, key), at[some])


def test_shuffled_is_uniform_at_every_place():
    n, counts = 11, np.zeros((11, 11))
    for key in range(1100):
        counts[np.arange(n), da.shuffled(np.arange(n), n, key)] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 170  # 100 degrees of freedom, p < 1e-5


def test_shuffled_takes_any_shape():
    places = np.arange(12).reshape(3, 4)
    assert np.array_equal(da.shuffled(places, 40, 2), da.shuffled(places.ravel(), 40, 2).reshape(3, 4))
    assert da.shuffled(np.zeros(0, dtype=np.int64), 5).shape == (0,)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_same_batches_from_processes(shards):
    "PyTorch's loader, with processes, fed with our function of the step."
    loader = da.Loader(da.Windows(shards, 32), 4, seed=3)
    others = torch.utils.data.DataLoader(loader, batch_size=None, sampler=range(5, 25), num_workers=2)
    assert all(same(batch, loader[k]) for k, batch in zip(range(5, 25), others, strict=True))


def test_same_batches_as_torch_without_shuffling(shards):
    windows = da.Windows(shards, 32)
    ours = da.Loader(windows, 7, shuffle=False, n_epochs=1, n_workers=2)
    rows = [tuple(map(torch.from_numpy, map(np.array, windows[k]))) for k in range(len(windows))]
    theirs = list(torch.utils.data.DataLoader(rows, batch_size=7))
    assert len(ours) == len(theirs) and all(map(same, ours, theirs))


@pytest.mark.parametrize("n_workers", [0, 1, 3])
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_stopped_anywhere_it_goes_on(shards, n_workers, n_ranks):
    def fresh(rank=0, workers=n_workers):
        return da.Loader(da.Windows(shards, 64), 2, seed=1, rank=rank, n_ranks=n_ranks, n_workers=workers)

    for rank in range(n_ranks):
        whole = list(islice(fresh(rank), 60))
        for stop in (0, 1, 17, 59):
            first = fresh(rank)
            begun = list(islice(first, stop))
            state = json.loads(json.dumps(first.state_dict()))
            second = fresh(rank, workers=(n_workers + 2) % 4)
            second.load_state_dict(state)
            assert all(map(same, begun + list(islice(second, 60 - stop)), whole))


def test_a_loop_that_breaks_loses_nothing(shards):
    loader = da.Loader(da.Windows(shards, 64), 2, n_workers=2)
    got = []
    for _ in range(4):
        for batch in loader:
            got.append(batch)
            if len(got) % 3 == 0:
                break
    assert all(same(batch, loader[k]) for k, batch in enumerate(got)) and loader.step == 12


def test_overlapping_personal_data_is_redacted_once():
    assert da.redact("10.0.0.1@mail.example hello") in ("<email> hello", "<ip> hello")


def test_errors_of_workers_arrive():
    class Broken:
        def __len__(self):
            return 9

        def __getitem__(self, k):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(da.Loader(Broken(), 2, n_workers=2)))


def test_mixture_shares_and_epochs(shards):
    sources = [da.Windows(shards, 16), da.Windows(np.arange(50), 16), da.Windows(np.arange(90), 16)]
    mixture = da.Mixture(sources, [0.7, 0.2, 0.1], n_rows=1000, block=50)
    source, item = mixture.locate(np.arange(1000))
    assert np.bincount(source).tolist() == [700, 200, 100]
    for end in range(50, 1001, 50):  # after every block, no item is more than one reading ahead
        for i, data in enumerate(sources):
            times = np.bincount(item[:end][source[:end] == i], minlength=len(data))
            assert times.max() - times.min() <= 1 and len(times) == len(data)
    loader = da.Loader(mixture, 8, shuffle=False, n_workers=2)
    resumed = da.Loader(mixture, 8, shuffle=False)
    first = list(islice(loader, 10))
    resumed.load_state_dict(loader.state_dict())
    assert resumed.step == 10 and same(next(iter(resumed)), loader[10])
    assert all(same(batch, loader[k]) for k, batch in enumerate(first))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0.01, 5), min_size=1, max_size=8), st.integers(0, 200))
def test_quotas_add_up(weights, n):
    found = da.quotas(weights, n)
    assert sum(found) == n
    assert all(abs(q - n * w / sum(weights)) < 1 for q, w in zip(found, weights, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 20))
def test_best_fit_needs_few_rows(sizes, context):
    rows = da.pack_best_fit(sizes, context)
    assert sum(sizes) <= len(rows) * context
    assert 9 * len(rows) <= 11 * len(da.pack_greedy(sizes, context)) + 6  # Johnson's bound
    got = Counter((n, k) for row in rows for n, a, b in row for k in range(a, b))
    assert got == Counter((n, k) for n, size in enumerate(sizes) for k in range(size))


def test_windows_begin_at_every_stride():
    for context, stride in ((5, 2), (3, 7), (4, None)):
        windows, step = da.Windows(np.arange(40), context, stride), stride or context
        for k in range(len(windows)):
            inputs, targets = windows[k]
            assert inputs.tolist() == list(range(k * step, k * step + context))
            assert targets.tolist() == list(range(k * step + 1, k * step + context + 1))
        assert 40 - context - 1 - step < (len(windows) - 1) * step <= 40 - context - 1


def test_greedy_fills_a_row_to_the_last_position():
    assert da.pack_greedy([4, 2, 6, 3], 6) == [[(0, 0, 4), (1, 0, 2)], [(2, 0, 6)], [(3, 0, 3)]]


def test_concat_cuts_where_the_row_ends():
    assert da.pack_concat([4, 0, 3, 6], 5) == [[(0, 0, 4), (2, 0, 1)], [(2, 1, 3), (3, 0, 3)], [(3, 3, 6)]]


def test_waste_by_hand():
    assert da.packing_waste([[(0, 0, 2)], [(1, 0, 3)]], [2, 4, 0], 4) == {
        "padding": 3 / 8, "lost": pytest.approx(1 / 6), "cut": 1 / 2}


def test_positions_count_from_the_beginning_of_each_piece():
    rows = da.Packed([[9, 1, 2, 3, 4, 5, 6], [9, 8, 7]], 4)
    assert rows.rows == [[(0, 0, 4)], [(0, 4, 6), (1, 0, 2)]]
    inputs, targets, doc_ids, positions = rows[1]
    assert inputs.tolist() == [4, 5, 9, 8] and targets.tolist() == [5, 6, 8, 7]
    assert doc_ids.tolist() == [0, 0, 1, 1] and positions.tolist() == [0, 1, 0, 1]


def test_padding_is_told_from_a_token_that_looks_like_it():
    inputs, targets, mask = da.pad_batch([[0, 0, 5], [0, 3]], pad=0)
    assert mask.tolist() == [[True, True], [True, False]] and targets.tolist() == [[0, 5], [3, da.IGNORE]]


def test_a_document_is_found_across_shards(tmp_path):
    shards = da.write_shards(["ab", "", "cde", "f"], tmp_path / "s", encode, 256, shard_tokens=2)
    assert len(shards.manifest["shards"]) > 1 and shards[:].tolist() == list(b"abcdef")
    for first in range(7):
        for last in range(7):
            assert bytes(shards[first:last].tolist()) == b"abcdef"[first:last]
    found = [bytes(shards[slice(*shards.bounds(n))].tolist()) for n in range(4)]
    assert found == [b"ab", b"", b"cde", b"f"]


def test_epochs_differ_and_ranks_share(shards):
    data = da.Windows(np.arange(13), 1)
    loader = da.Loader(data, 3, seed=5)
    order = np.concatenate([loader.items(k) for k in range(12)]).reshape(3, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in order) and len({tuple(e) for e in order}) == 3
    halves = [da.Loader(data, 3, seed=5, rank=r, n_ranks=2) for r in range(2)]
    assert np.concatenate([half.items(k) for k in range(6) for half in halves]).tolist() == order.ravel().tolist()


def test_a_loaded_state_moves_a_reader_that_is_ahead(shards):
    loader = da.Loader(da.Windows(shards, 64), 2, n_workers=2)
    reading = iter(loader)
    next(reading)
    loader.load_state_dict({**loader.state_dict(), "n_seen": 14})
    assert same(next(reading), loader[7])
    reading.close()


def test_every_block_and_every_epoch_of_a_mixture_is_shuffled_anew():
    sources = [da.Windows(np.arange(13), 1), da.Windows(np.arange(13), 1)]
    source, item = da.Mixture(sources, [1, 1], n_rows=96, block=24).locate(np.arange(96))
    assert len({tuple(part) for part in source.reshape(4, 24)}) == 4
    orders = [tuple(part) for i in range(2) for part in np.array(item[source == i]).reshape(4, 12)]
    assert len(set(orders)) == 8  # 4 epochs of 2 sources, no two alike
    assert all(sorted(part) == list(range(12)) for part in orders)
    source, item = da.Mixture(sources, [1, 1], n_rows=96, block=8).locate(np.arange(96))
    firsts = {frozenset(part[:4].tolist()) for i in range(2) for part in np.array(item[source == i]).reshape(4, 12)}
    assert len(firsts) > 5  # which items come first differs, whatever the order inside a block


def test_bos_packing_takes_the_longest_that_fits():
    assert da.pack_bos([4, 2, 2], 4) == [[(0, 0, 4)], [(2, 0, 2), (1, 0, 2)]]
    assert da.pack_bos([5, 2, 7, 3], 8, buffer=2) == [[(0, 0, 5), (1, 0, 2), (3, 0, 1)]]
    assert da.pack_bos([5, 2, 7, 3], 8) == [[(2, 0, 7), (1, 0, 1)], [(0, 0, 5), (3, 0, 3)]]


def test_packed_rows_suit_a_document_mask(shards):
    inputs, targets, doc_ids, positions = da.Loader(da.Packed(shards, 256), 3)[0]
    assert inputs.shape == targets.shape == doc_ids.shape == positions.shape == (3, 256)
    starts = positions == 0
    assert (inputs[starts & (doc_ids >= 0)] == 256).all()
    assert ((targets == da.IGNORE) == (doc_ids < 0)).all()
    assert not (targets == 256).any()  # no question whose answer is another document
