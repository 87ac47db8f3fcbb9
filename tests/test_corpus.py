"""The chapter `corpus`, beyond what it proves itself: downloads over HTTP with everything that goes wrong there,
hostile archives, properties of cleaning and splitting, and the real files where they are at hand."""
import hashlib
import http.server
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import types
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm_book.corpus import (
    DOWNLOADS,
    ChecksumError,
    Corpus,
    DownloadError,
    cache_dir,
    cached_path,
    docstrings,
    download,
    extract,
    fetch,
    leads_out,
    load_corpus,
    normalize,
    overlap,
    paragraphs,
    python_files,
    read_text,
    share_new,
    vocabulary_growth,
    without,
    words,
)

CONTENT = random.Random(0).randbytes(300_001)  # more than one block of every size in use
RIGHT = hashlib.sha256(CONTENT).hexdigest()


# A server that misbehaves as its address says


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        how = urlsplit(self.path).path.strip("/").split("/")[0]
        self.server.asked.append((how, start))
        getattr(self, how)(start)

    def send(self, start: int, data: bytes, announced: int | None = None, ranges: bool = True, length: bool = True):
        resumed = ranges and start > 0
        self.send_response(206 if resumed else 200)
        if resumed:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{start + len(data)}")
        if length:
            self.send_header("Content-Length", str(len(data) if announced is None else announced))
        self.end_headers()
        self.wfile.write(data)

    def good(self, start):
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send(start, CONTENT[start:])

    def no_ranges(self, start):
        self.send(0, CONTENT, ranges=False)

    def no_length(self, start):
        self.send(start, CONTENT[start:], length=False)

    def another_range(self, start):  # answers 206, but from the beginning
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def cut_off(self, start):  # announces all and sends 100,000 bytes at most
        self.send(start, CONTENT[start : start + 100_000], announced=len(CONTENT) - start)

    def changed(self, start):
        self.send(start, CONTENT[start:-1] + bytes([CONTENT[-1] ^ 1]))

    def endless(self, start):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(2_000):
                self.wfile.write(bytes(1 << 16))
        except OSError:
            self.server.asked.append(("hung up", 0))

    def slow(self, start):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:200_000])
        self.wfile.flush()
        self.server.stop.wait(30)

    def gone(self, start):
        self.send_error(404)

    def broken(self, start):
        self.send_error(503)

    def moved(self, start):
        self.send_response(302)
        self.send_header("Location", "/good/file")
        self.end_headers()

    def moved_to_a_file(self, start):
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.end_headers()

    def no_http(self, start):
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.asked, server.stop = True, [], threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.stop.set()
        server.shutdown()


@pytest.fixture
def at(server):
    server.asked.clear()
    return lambda how: f"http://127.0.0.1:{server.server_port}/{how}/file"


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Downloads that succeed


@pytest.mark.parametrize("how", ["good", "no_length", "moved", "no_ranges"])
def test_download(how, at, tmp_path):
    path = download(at(how), tmp_path / "deep" / "file", sha256=RIGHT)
    assert path == tmp_path / "deep" / "file" and path.read_bytes() == CONTENT and only(path.parent) == ["file"]


def test_what_is_there_is_not_asked_for(at, server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    download(at("good"), tmp_path / "file", sha256=RIGHT)
    assert server.asked == []


def test_what_is_damaged_is_replaced(at, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    assert download(at("good"), tmp_path / "file", sha256=RIGHT).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "how, asked",
    [
        ("good", [123_456]),
        ("no_length", [123_456]),
        ("no_ranges", [123_456]),  # sends all of it, and the half we had is dropped
        ("another_range", [123_456]),
    ],
)
def test_resume(how, asked, at, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:123_456])
    assert download(at(how), tmp_path / "file", sha256=RIGHT).read_bytes() == CONTENT
    assert [start for _, start in server.asked] == asked and only(tmp_path) == ["file"]


def test_a_wrong_half_is_fetched_again_from_the_start(at, server, tmp_path):
    (tmp_path / "file.part").write_bytes(bytes(1000))
    assert download(at("good"), tmp_path / "file", sha256=RIGHT).read_bytes() == CONTENT
    assert [start for _, start in server.asked] == [1000, 0]


@pytest.mark.parametrize("n_bytes", [None, len(CONTENT)])
def test_stopped_between_the_last_byte_and_the_name(n_bytes, at, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(at("good"), tmp_path / "file", sha256=RIGHT, n_bytes=n_bytes).read_bytes() == CONTENT
    assert [start for _, start in server.asked] == ([] if n_bytes else [len(CONTENT), 0])  # 416, then from the start


def test_cut_off_again_and_again(at, server, tmp_path):
    for arrived in (100_000, 200_000, 300_000):
        with pytest.raises(DownloadError, match=f"ended after {arrived:,} of 300,001 bytes|IncompleteRead"):
            download(at("cut_off"), tmp_path / "file", sha256=RIGHT)
        assert (tmp_path / "file.part").stat().st_size == arrived and not (tmp_path / "file").exists()
    download(at("cut_off"), tmp_path / "file", sha256=RIGHT)
    assert [start for _, start in server.asked] == [0, 100_000, 200_000, 300_000] and only(tmp_path) == ["file"]


def test_a_mirror_goes_on_where_the_origin_stopped(at, server, tmp_path):
    path = download([at("gone"), at("cut_off"), at("good")], tmp_path / "file", sha256=RIGHT)
    assert path.read_bytes() == CONTENT and server.asked == [("gone", 0), ("cut_off", 0), ("good", 100_000)]


@pytest.mark.parametrize("how", ["gone", "broken", "changed", "no_http", "endless"])
def test_mirror_steps_in(how, at, tmp_path):
    path = download([at(how), at("good")], tmp_path / "file", sha256=RIGHT, n_bytes=len(CONTENT))
    assert path.read_bytes() == CONTENT and only(tmp_path) == ["file"]


# Downloads that fail


def one_sentence(error: Exception) -> str:
    text = str(error)
    assert "\n" not in text and "pass have='where/it/is'" in text and "could not be downloaded" in text
    return text


@pytest.mark.parametrize("how, why", [("changed", "has sha256"), ("gone", "Not Found"), ("broken", "Service Unavailable")])
def test_refused(how, why, at, tmp_path):
    with pytest.raises(DownloadError, match=why) as caught:
        download(at(how), tmp_path / "file", sha256=RIGHT)
    assert at(how) in one_sentence(caught.value) and only(tmp_path) == []


@pytest.mark.parametrize("how", ["broken", "gone"])
def test_a_refusal_does_not_cost_what_has_arrived(how, at, server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError):
        download(at(how), tmp_path / "file", sha256=RIGHT)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:1000] and server.asked == [(how, 1000)]


def test_every_address_is_named_with_its_reason(at, tmp_path):
    with pytest.raises(DownloadError) as caught:
        download([at("gone"), at("changed"), "https://nowhere.invalid/file"], tmp_path / "file", sha256=RIGHT)
    text = one_sentence(caught.value)
    assert "Not Found" in text and "has sha256" in text and "nowhere.invalid:" in text


def test_an_endless_answer_is_cut_short(at, server, tmp_path):
    with pytest.raises(DownloadError, match="more than the announced 300,001 bytes"):
        download(at("endless"), tmp_path / "file", sha256=RIGHT, n_bytes=len(CONTENT))
    assert only(tmp_path) == []


def test_a_server_that_falls_silent(at, tmp_path):
    with pytest.raises(DownloadError, match="timed out"):
        download(at("slow"), tmp_path / "file", sha256=RIGHT, timeout_s=0.3)
    assert (tmp_path / "file.part").stat().st_size >= 65_536
    assert download(at("good"), tmp_path / "file", sha256=RIGHT).read_bytes() == CONTENT


def test_nobody_listens(tmp_path):
    with pytest.raises(DownloadError, match="refused"):
        download("http://127.0.0.1:9/file", tmp_path / "file", sha256=RIGHT)


def test_a_redirection_does_not_lead_to_local_files(at, tmp_path):
    with pytest.raises(DownloadError, match="not allowed"):
        download(at("moved_to_a_file"), tmp_path / "file", sha256=RIGHT)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "data:,text", "file", "/etc/hostname", "jar:file:x"])
def test_other_addresses(url, tmp_path):
    with pytest.raises(ValueError, match="is not an address that begins with https:, http: or file:"):
        download(url, tmp_path / "file", sha256=RIGHT)


def test_failure_leaves_the_old_file(at, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(DownloadError):
        download(at("changed"), tmp_path / "file", sha256=RIGHT)
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
def test_killed_in_the_middle(at, server, tmp_path):
    code = "import sys; from llm_book.corpus import download; download(sys.argv[1], sys.argv[2], sha256=sys.argv[3])"
    child = subprocess.Popen([sys.executable, "-c", code, at("slow"), str(tmp_path / "file"), RIGHT])
    part = tmp_path / "file.part"
    try:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size >= 65_536):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.kill()
        child.wait()
    arrived = part.stat().st_size
    assert 0 < arrived < len(CONTENT) and only(tmp_path) == ["file.part"]
    assert download(at("good"), tmp_path / "file", sha256=RIGHT).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", arrived) and only(tmp_path) == ["file"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_stopped_before_the_name(moment, at, tmp_path, monkeypatch):
    "Whatever fails last, nothing stands under the final name, and what arrived is kept."

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        download(at("good"), tmp_path / "file", sha256=RIGHT)
    assert only(tmp_path) == ["file.part"]
    monkeypatch.undo()
    assert download(at("good"), tmp_path / "file", sha256=RIGHT, n_bytes=len(CONTENT)).read_bytes() == CONTENT


def test_the_bytes_are_on_the_disk_before_they_get_their_name(at, tmp_path, monkeypatch):
    order = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: order.append("fsync") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda *paths: order.append("rename") or rename(*paths))
    download(at("good"), tmp_path / "file", sha256=RIGHT)
    assert order == ["fsync", "rename"]


def test_a_file_that_one_has(tmp_path):
    mine, path = tmp_path / "mine.bin", tmp_path / "cache" / "file"
    mine.write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/file", path, sha256=RIGHT, have=str(mine)).read_bytes() == CONTENT
    mine.write_bytes(CONTENT[1:])
    path.unlink()
    with pytest.raises(ChecksumError, match="mine.bin has sha256"):
        download("http://127.0.0.1:9/file", path, sha256=RIGHT, have=mine)
    assert only(path.parent) == []


def test_a_fingerprint_in_capitals(at, tmp_path):
    assert download(at("good"), tmp_path / "file", sha256=RIGHT.upper()).read_bytes() == CONTENT


# The table of downloads


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_BOOK_CACHE", str(tmp_path))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    return tmp_path


def test_cache_folder(cache, monkeypatch):
    assert cache_dir() == cache
    monkeypatch.setenv("LLM_BOOK_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "llm_book"
    monkeypatch.setenv("LLM_BOOK_CACHE", "~/texts")
    assert cache_dir() == Path.home() / "texts"


def test_table():
    files = [file for group in DOWNLOADS.values() for file in group]
    assert len({file.name for file in files}) == len({file.sha256 for file in files}) == len(files)
    for file in files:
        assert len(bytes.fromhex(file.sha256)) == 32 and file.n_bytes > 0 and file.license
        assert all(url.startswith("https://") for url in file.urls) and not leads_out(file.name)
    for file in DOWNLOADS["gpt2-tokenizer"]:  # as tiktoken names it
        assert file.name == f"tiktoken/{hashlib.sha1(file.urls[0].encode()).hexdigest()}"


def plant(monkeypatch, name: str, *texts: bytes) -> None:
    "Put small files in the place of a download's real ones."
    from dataclasses import replace

    files = zip(DOWNLOADS[name], texts, strict=True)
    small = [replace(f, sha256=hashlib.sha256(text).hexdigest(), n_bytes=len(text), urls=("http://127.0.0.1:9/" + f.urls[0].rpartition("/")[2],)) for f, text in files]
    monkeypatch.setitem(DOWNLOADS, name, tuple(small))


def test_fetch_takes_a_folder(cache, monkeypatch, tmp_path_factory):
    mine = tmp_path_factory.mktemp("mine")
    plant(monkeypatch, "gpt2-tokenizer", b"merges", b"vocabulary")
    (mine / "vocab.bpe").write_bytes(b"merges")
    (mine / "encoder.json").write_bytes(b"vocabulary")
    with pytest.raises(DownloadError, match="vocab.bpe by other means"):
        fetch("gpt2-tokenizer")
    paths = fetch("gpt2-tokenizer", have=mine)
    assert [path.read_bytes() for path in paths] == [b"merges", b"vocabulary"] and paths[0].parent == cache / "tiktoken"
    assert fetch("gpt2-tokenizer") == paths


def test_downloaded_corpora(cache, monkeypatch, tmp_path_factory):
    mine = tmp_path_factory.mktemp("mine") / "downloaded"
    mine.write_bytes(b"First Citizen:\nBefore we proceed\n")
    plant(monkeypatch, "tiny-shakespeare", mine.read_bytes())
    fetch("tiny-shakespeare", have=mine)
    plays = load_corpus("tiny-shakespeare")
    assert plays.documents == ("First Citizen:\nBefore we proceed\n",) and plays.license == "public domain"
    assert plays.sha256 == DOWNLOADS["tiny-shakespeare"][0].sha256 and plays.titles == ("tiny-shakespeare 1",)
    mine.write_bytes('{"question": "1 + 1?", "answer": "2"}\n{"question": "é\u2028?", "answer": "e"}\n'.encode())
    plant(monkeypatch, "gsm8k", mine.read_bytes())
    fetch("gsm8k", have=mine)
    assert load_corpus("gsm8k").documents == ("1 + 1?\n2", "é\u2028?\ne")


def test_no_network_names_the_way_out(cache, monkeypatch):
    plant(monkeypatch, "tiny-shakespeare", b"x")
    with pytest.raises(DownloadError) as caught:
        load_corpus("tiny-shakespeare")
    assert "tinyshakespeare.txt could not be downloaded" in one_sentence(caught.value)


def real(name: str) -> Path | None:
    "A real file, if this machine has it."
    return next((path for path in map(cached_path, DOWNLOADS[name]) if path.is_file()), None)


def needs(name: str):
    return pytest.mark.skipif(real(name) is None, reason=f"no {name} in LLM_BOOK_CACHE and TIKTOKEN_CACHE_DIR")


@needs("tiny-shakespeare")
def test_real_shakespeare():
    plays = load_corpus("tiny-shakespeare")
    assert plays.n_bytes == 1_115_394 and plays.sha256 == DOWNLOADS["tiny-shakespeare"][0].sha256
    train, test = plays.split(0.1)
    assert plays.text == train.text + test.text and train.text.endswith("\n") and len(set(plays.text)) == 65
    assert 0.099 < test.n_bytes / plays.n_bytes <= 0.1


@needs("gsm8k")
def test_real_gsm8k():
    problems = load_corpus("gsm8k")
    assert len(problems) == 1319 and problems.documents[0].startswith("Janet") and problems.documents[0].endswith("#### 18")
    train, test = problems.split(0.2)
    assert len(train) + len(test) == 1319 and overlap(test, train) < 0.01


@needs("gpt2-tokenizer")
def test_real_tokenizer_files():
    merges, vocabulary = fetch("gpt2-tokenizer")
    assert merges.read_text(encoding="utf-8").startswith("#version: 0.2\n") and vocabulary.stat().st_size == 1_042_301


# Archives


def pack(path: Path, kind: str, names: dict[str, bytes]) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as box:
            for name, data in names.items():
                box.writestr(zipfile.ZipInfo(name), data)
    else:
        with tarfile.open(path, f"w:{kind}") as box:
            for name, data in names.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                box.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_extract(kind, tmp_path):
    names = {"one.txt": CONTENT, "deep/er/two.txt": b"two", "empty": b""}
    folder = extract(pack(tmp_path / "box", kind, names), tmp_path / "new" / "folder")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == names and only(tmp_path / "new") == ["folder"]
    with pytest.raises(ValueError, match="is there already"):
        extract(tmp_path / "box", folder)


@pytest.mark.parametrize("kind", ["zip", "gz"])
@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "C:/out", "C:out", "..\\out", "\\\\host\\share\\out", "a:b", "//host/out"])
def test_names_that_lead_out(kind, name, tmp_path):
    box = pack(tmp_path / "box", kind, {"good": b"good", name: b"bad"})
    with pytest.raises(ValueError, match="leads out of its folder"):
        extract(box, tmp_path / "in" / "folder")
    assert only(tmp_path) == ["box"]


def special(kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("innocent")
    entry.type, entry.linkname = kind, "/etc"
    return entry


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices(kind, tmp_path):
    with tarfile.open(tmp_path / "box", "w") as box:
        box.addfile(special(kind))
        file = tarfile.TarInfo("innocent/passwd")
        file.size = 3
        box.addfile(file, io.BytesIO(b"bad"))
    with pytest.raises(ValueError, match="'innocent', which is a link"):
        extract(tmp_path / "box", tmp_path / "folder")
    assert only(tmp_path) == ["box"]


def test_link_in_a_zip(tmp_path):
    entry = zipfile.ZipInfo("innocent")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "box", "w") as box:
        box.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="is a link"):
        extract(tmp_path / "box", tmp_path / "folder")


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_bombs(kind, tmp_path):
    box = pack(tmp_path / "box", kind, {"a": bytes(600), "b": bytes(401)})
    with pytest.raises(ValueError, match="more than 1,000 bytes"):
        extract(box, tmp_path / "folder", max_bytes=1000)
    assert extract(box, tmp_path / "folder", max_bytes=1001).is_dir()


def test_a_zip_in_a_tar(tmp_path):
    inner = pack(tmp_path / "inner.zip", "zip", {"a": b"inside"}).read_bytes()
    folder = extract(pack(tmp_path / "box.tar", "", {"inner.zip": inner}), tmp_path / "folder")
    assert only(folder) == ["inner.zip"] and (folder / "inner.zip").read_bytes() == inner


def test_broken_archives(tmp_path):
    (tmp_path / "box").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="neither a zip nor a tar"):
        extract(tmp_path / "box", tmp_path / "folder")
    whole = pack(tmp_path / "zip", "zip", {"a": CONTENT}).read_bytes()
    (tmp_path / "zip").write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(ValueError, match="zip is damaged or can't be read .*: get it again"):
        extract(tmp_path / "zip", tmp_path / "folder")
    assert only(tmp_path) == ["box", "zip"]


@pytest.mark.parametrize("kind", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.0005, 0.3, 0.7])
def test_half_an_archive(kind, share, tmp_path):
    whole = pack(tmp_path / "box", kind, {"a": CONTENT, "b": CONTENT}).read_bytes()
    (tmp_path / "box").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="box is damaged or can't be read|box is neither a zip nor a tar file: is it cut off"):
        extract(tmp_path / "box", tmp_path / "folder")
    assert only(tmp_path) == ["box"]


def test_a_changed_byte_in_a_tar_gz(tmp_path):
    "gzip keeps its checksum behind the end of the tar file, where no one who unpacks would look."
    whole = pack(tmp_path / "box", "gz", {"a": CONTENT}).read_bytes()
    middle = len(whole) // 2
    (tmp_path / "box").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(ValueError, match="box is damaged or can't be read"):
        extract(tmp_path / "box", tmp_path / "folder")
    assert only(tmp_path) == ["box"]


@given(st.text(st.sampled_from("./\\:aC"), max_size=8))
def test_no_name_leads_out(name):
    import ntpath
    import posixpath

    assume(not leads_out(name))
    for paths, root in ((posixpath, "/base/in"), (ntpath, "D:\\base\\in")):
        assert paths.normpath(paths.join(root, name)).startswith(root)


# Reading


@given(st.text(min_size=1))
def test_reading_changes_nothing(text):
    data = text.encode(errors="ignore")
    assume(data)
    path = Path(tempfile.gettempdir()) / f"llm_book-{os.getpid()}.txt"
    path.write_bytes(data)
    try:
        assert read_text(path).encode() == data
    finally:
        path.unlink()


@pytest.mark.parametrize("n_lines", [0, 3])
def test_the_bad_byte_is_named(n_lines, tmp_path):
    data = b"good\n" * n_lines + b"ab\x80cd"
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=rf"x is not utf-8, see byte 0x80 at offset {5 * n_lines + 2} \(line {n_lines + 1}\): try") as caught:
        read_text(tmp_path / "x")
    assert "latin-1" in str(caught.value) and "\n" not in str(caught.value)


def test_the_first_byte_counts_as_a_line(tmp_path):
    (tmp_path / "x").write_bytes(b"\n\x80")
    with pytest.raises(ValueError, match=r"offset 1 \(line 2\)"):
        read_text(tmp_path / "x")


def test_a_folder_without_text(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    (tmp_path / "b.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no text that ends in .md or .txt, only .pdf, .txt: pass suffixes"):
        load_corpus(tmp_path)
    (tmp_path / "c.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="c.txt is not utf-8"):
        load_corpus(tmp_path)


def test_no_such_corpus(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'tiny-shakespeare'"):
        load_corpus("tinyshakespeare")
    with pytest.raises(ValueError, match="give a path, or one of python-docs, python-docstrings"):
        load_corpus(tmp_path / "nothing.txt")


# What Python carries


def test_files_of_a_library(tmp_path):
    names = ["b.py", "a/z.py", "a/b.py", "a-b.py", "test/x.py", "a/tests/x.py", "site-packages/p/q.py", "c.txt"]
    names += ["_sysconfigdata_x.py", "config-3.11/python-config.py", "pydoc_data/topics.py", "d.pyc", "unittest/case.py"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    assert python_files(tmp_path) == ["a-b.py", "a/b.py", "a/z.py", "b.py", "unittest/case.py"]


def test_a_python_without_its_library(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match="without the source of the standard library: load a text of your own"):
        load_corpus("python-source")
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ValueError, match="without its manual"):
        load_corpus("python-docs")


def test_topics_are_sorted(monkeypatch):
    manual = types.SimpleNamespace(topics={"b": "second", "a": "first", "c": ""})
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", manual)
    docs = load_corpus("python-docs")
    assert docs.titles == ("a", "b") and docs.documents == ("first", "second")


def test_bad_files_in_the_library_are_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "good.py").write_text('"Doc."')
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9")
    (tmp_path / "old.py").write_text("print 'hello'")
    (tmp_path / "empty.py").write_text("")
    assert load_corpus("python-source").titles == ("good.py", "old.py")
    assert load_corpus("python-docstrings").titles == ("good.py",)


def test_loading_executes_nothing():
    code = "import sys; from llm_book.corpus import load_corpus; load_corpus('python-docstrings'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"antigravity", "this", "turtle", "idlelib", "tkinter", "curses", "torch"} & set(done.stdout.split())


def test_docstrings_agree_with_python(tmp_path):
    "What a running module says of itself, for one that is safe to run."
    import inspect
    import textwrap as module

    found = docstrings(Path(module.__file__).read_text(encoding="utf-8"))
    objects = [module, *vars(module).values(), *vars(module.TextWrapper).values()]
    ours = [o for o in objects if inspect.ismodule(o) and o is module or getattr(o, "__module__", None) == "textwrap"]
    expected = {inspect.cleandoc(o.__doc__) for o in ours if (inspect.ismodule(o) or callable(o)) and o.__doc__}
    assert set(found) == expected


@pytest.mark.parametrize("source", ["\0", "def f(:", "x = '\\d'", "(" * 300])
def test_docstrings_of_bad_code(source, recwarn):
    assert docstrings(source) == [] and not recwarn.list


def test_source_loads_at_once():
    start = time.process_time()
    source = load_corpus("python-source")
    assert source.n_bytes > 8e6 and time.process_time() - start < 5  # about 0.1 s


def test_corpora_are_the_same_twice():
    one, two = load_corpus("python-docs"), load_corpus("python-docs")
    assert one == two and one.sha256 == two.sha256 and hash(one) == hash(two)
    assert one.text == "\n\n".join(one) and one.n_bytes == len(one.text.encode()) and str(one.n_bytes)[-3:] in repr(one)


# Cleaning

MESSY = st.text(st.one_of(st.sampled_from("a é e\u0301\r\n\x85\u2028\x00\x0c\t\ufeff\u212b\ufb01\U0001f600"), st.characters()))


@given(MESSY, st.booleans(), st.booleans(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", None]))
def test_normalize_twice_is_once(text, newlines, controls, form):
    once = normalize(text, newlines=newlines, controls=controls, form=form)
    assert normalize(once, newlines=newlines, controls=controls, form=form) == once


@given(MESSY)
def test_normalize_keeps_what_can_be_seen(text):
    clean = normalize(text)
    assert {c for c in clean if unicodedata.category(c) == "Cc" or c in "\u2028\u2029\ufeff"} <= {"\n", "\t"}
    seen = [c for c in text if unicodedata.category(c) not in ("Cc", "Zl", "Zp") and c != "\ufeff"]
    kept = [c for c in clean if c not in "\n\t"]
    assert unicodedata.normalize("NFD", "".join(kept)) == unicodedata.normalize("NFD", "".join(seen)) or any(map(unicodedata.combining, text))
    assert clean.count("\n") == sum(text.count(c) for c in "\n\r\x0b\x0c\x85\u2028\u2029") - text.count("\r\n")


# Splitting

DOCUMENTS = st.lists(st.text("ab\n", min_size=1, max_size=30), min_size=2, max_size=12)


def corpus(documents) -> Corpus:
    return Corpus("small", tuple(documents), tuple(map(str, range(len(documents)))), "none", "here")


@given(DOCUMENTS, st.floats(0.01, 0.99), st.integers(0, 5))
def test_split(documents, share, seed):
    whole = corpus(documents)
    assume(len(set(documents)) > 1)
    try:
        train, test = whole.split(share, seed)
    except ValueError as error:
        assert "no document is small enough" in str(error)
        ask = float(str(error).split("held_out=")[1].split()[0])
        assert ask > share
        if ask < 1:
            assert len(whole.split(ask, seed)[1])
        return
    assert sorted(train.titles + test.titles) == sorted(whole.titles) and not set(train) & set(test)
    assert sum(map(len, test)) <= share * sum(map(len, whole)) + 1e-9 and len(train)
    order = random.Random(seed).sample(range(len(documents)), len(documents))
    assert set(whole.part("mixed", order).split(share, seed)[1]) == set(test)
    assert [whole.documents[int(title)] for title in train.titles] == list(train)


@given(st.text("ab\n", min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_split_of_one_document(text, share):
    train, test = corpus([text]).split(share)
    assert train.text + test.text == text and train.text and test.text
    assert len(test.text) <= max(1, share * len(text) + 1e-9)
    assert (train.name, test.name) == ("small/train", "small/held-out")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_split_refuses_a_share(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        corpus(["a", "b"]).split(share)


@given(DOCUMENTS, DOCUMENTS)
def test_without_leaves_nothing_shared(held_out, train):
    held_out, train = corpus(held_out), corpus(train)
    assume(paragraphs(held_out.text))
    try:
        clean = without(held_out, train)
    except ValueError:
        assert overlap(held_out, train) == 1
        return
    assert overlap(clean, train) == 0 and set(paragraphs(clean.text)) == set(paragraphs(held_out.text)) - set(paragraphs(train.text))
    assert overlap(held_out, held_out) == 1 and set(clean.titles) <= set(held_out.titles)


# Counting


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=40))
def test_counting(sequence):
    growth = vocabulary_growth(sequence)
    assert growth.tolist() == [len(set(sequence[: n + 1])) for n in range(len(sequence))]
    left = [len({*sequence[:n], *sequence[n + 1 :]}) for n in range(len(sequence))]
    assert len(set(sequence)) - sum(left) / len(left) == pytest.approx(share_new(sequence))


def test_nothing_was_held_out():
    assert overlap(corpus([" "]), corpus(["a"])) == 0


def test_nothing_was_read():
    assert share_new([]) == 1.0 and words("") == [] and vocabulary_growth([]).tolist() == [] and paragraphs(" \n\n ") == []
