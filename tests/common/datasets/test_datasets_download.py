"""Downloads from a local HTTP server: mirrors in order, nothing accepted unchecked, no hanging."""

import http.client
import http.server
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from source_case import ONE, TWO, sha256, zipped

from common.datasets import download as download_module
from common.datasets.download import Download
from common.datasets.source import Archive, SourceFile, Sources, collect
from common.error import DataError


def single(*mirrors: str) -> Sources:
    return Sources(
        (SourceFile("one.txt", len(ONE), sha256(ONE), mirrors),),
    )


def zip_download(content: bytes, *mirrors: str) -> Sources:
    return Sources(
        (SourceFile("one.txt", len(ONE), sha256(ONE)),),
        archive=Archive("one.zip", Download(mirrors, len(content), sha256(content))),
    )


@pytest.fixture
def hand(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "downloads"


class Server:
    """An HTTP server on 127.0.0.1 that answers by path and counts what it was asked."""

    def __init__(self):
        self.contents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                outer.answer(self)

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        content = self.contents.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.path == "/truncated":
            content = content[: len(content) // 2]
        if handler.path == "/drip":
            for byte in content:
                if self.released.wait(0.02):
                    return
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
            return
        if handler.path == "/stall":
            handler.wfile.write(content[:10])
            handler.wfile.flush()
            self.released.wait(20)
            return
        handler.wfile.write(content)

    def __call__(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    running.contents |= {
        "/good": ONE,
        "/two": TWO,
        "/truncated": ONE,
        "/drip": ONE,
        "/stall": ONE,
        "/wrong": b"F" + ONE[1:],
        "/long": ONE * 100,
        "/empty": b"",
    }
    yield running
    running.close()


@pytest.fixture
def refused():
    """Return an address on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/one.txt"


def test_a_good_mirror_after_bad_ones(server, refused, cache):
    bad = [server(path) for path in ("/missing", "/wrong", "/truncated", "/long", "/empty")]
    sources = single(refused, "ftp://127.0.0.1/one.txt", *bad, server("/good"), server("/never"))
    assert collect(sources, None, cache, download=True) == {"one.txt": ONE}
    assert server.asked[-1] == "/good"
    assert [path.name for path in cache.iterdir()] == ["one.txt"]


def test_when_all_mirrors_fail_each_is_named_with_its_reason(server, refused, cache):
    paths = ("/missing", "/wrong", "/truncated", "/long", "/empty")
    sources = single(refused, "file:///etc/passwd", *map(server, paths))
    with pytest.raises(DataError) as caught:
        collect(sources, None, cache, download=True)
    first, second = str(caught.value).splitlines()
    assert first.startswith("could not download one.txt: ")
    failures = first.removeprefix("could not download one.txt: ").split("; ")
    expected = [
        (refused, "refused"),
        ("file:///etc/passwd", "not an http or https address"),
        (server("/missing"), "HTTP status 404"),
        (server("/wrong"), f"sha256 is {sha256(b'F' + ONE[1:])}, expected {sha256(ONE)}"),
        (server("/truncated"), f"ended after {len(ONE) // 2} of {len(ONE)} bytes"),
        (server("/long"), f"longer than the expected {len(ONE)} bytes"),
        (server("/empty"), f"ended after 0 of {len(ONE)} bytes"),
    ]
    for failure, (address, reason) in zip(failures, expected, strict=True):
        assert failure.startswith(f"{address}: ")
        assert reason in failure
    assert second == "Bring it by hand: --data-dir FOLDER with one.txt."
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "setting", "reason"),
    [("/stall", "STALL_SECONDS", "timed out"), ("/drip", "MIRROR_SECONDS", "not done after")],
)
def test_a_slow_mirror_is_given_up(server, cache, monkeypatch, path, setting, reason):
    monkeypatch.setattr(download_module, setting, 0.2)
    start = time.monotonic()
    with pytest.raises(DataError, match=reason):
        collect(single(server(path)), None, cache, download=True)
    assert time.monotonic() - start < 5
    assert collect(single(server(path), server("/good")), None, cache, download=True)


def test_files_by_hand_win_and_only_the_rest_is_downloaded(server, hand, cache):
    (hand / "one.txt").write_bytes(ONE)
    sources = Sources(
        (
            SourceFile("one.txt", len(ONE), sha256(ONE), (server("/never"),)),
            SourceFile("two.txt", len(TWO), sha256(TWO), (server("/two"),)),
        ),
    )
    assert collect(sources, hand, cache, download=True) == {"one.txt": ONE, "two.txt": TWO}
    assert server.asked == ["/two"]


def test_a_download_is_kept_and_used_offline(server, cache):
    collect(single(server("/good")), None, cache, download=True)
    assert collect(single(server("/good")), None, cache, download=False) == {"one.txt": ONE}
    assert server.asked == ["/good"]


def test_what_a_killed_download_left_is_swept(server, cache):
    cache.mkdir()
    (cache / ".one.txt.1.part").write_bytes(ONE[:5])
    collect(single(server("/good")), None, cache, download=True)
    assert [path.name for path in cache.iterdir()] == ["one.txt"]


def test_a_kept_download_that_was_damaged_is_fetched_again(server, cache):
    cache.mkdir()
    (cache / "one.txt").write_bytes(ONE[:-1])
    assert collect(single(server("/good")), None, cache, download=True) == {"one.txt": ONE}


def test_offline_makes_no_request(server, cache):
    with pytest.raises(DataError, match="downloading is off"):
        collect(single(server("/good")), None, cache, download=False)
    assert server.asked == []
    assert not cache.exists()


def test_a_zip_is_downloaded_and_read(server, cache):
    content = server.contents["/zip"] = zipped({"one.txt": ONE})
    sources = zip_download(content, server("/wrong"), server("/zip"))
    assert collect(sources, None, cache, download=True) == {"one.txt": ONE}
    assert (cache / "one.zip").read_bytes() == content


def test_a_hand_made_zip_counts_by_its_content(server, hand, cache):
    (hand / "one.zip").write_bytes(zipped({"elsewhere/one.txt": ONE, "README": b"made by hand"}))
    sources = zip_download(b"the official zip", server("/never"))
    assert collect(sources, hand, cache, download=True) == {"one.txt": ONE}
    assert server.asked == []


def test_a_connection_that_breaks_within_a_file_gives_way_to_the_next_mirror(
    server, cache, monkeypatch
):
    whole = http.client.HTTPResponse.read1

    def read1(response, size):
        if response.url == server("/two"):
            raise ssl.SSLError(1, "decryption failed or bad record mac")
        return whole(response, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read1)
    sources = single(server("/two"), server("/good"))
    assert collect(sources, None, cache, download=True) == {"one.txt": ONE}
    with pytest.raises(DataError, match=r"/two: .*bad record mac"):
        collect(single(server("/two")), None, cache / "other", download=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_no_fault_of_the_mirror(server):
    download = Download((server("/good"),), len(ONE), sha256(ONE))
    with pytest.raises(OSError, match="No space left"):
        download_module._fetch_one(server("/good"), download, Path("/dev/full"))
