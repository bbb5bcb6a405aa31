"""Files of the hub: found, fetched, resumed, checked, and kept as the hub's own tools keep them."""

import hashlib
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("httpx", reason="the extra hub")
pytest.importorskip("filelock", reason="the extra hub")

from filelock import FileLock

from lite.errors import ModelError, UsageError
from lite.hub.choose import PREFERRED, candidates, named, preferred
from lite.hub.client import Hub, RepoFile
from lite.hub.config import HubConfig, hub_config
from lite.hub.download import fetch, local_file
from lite.hub.names import HubName, is_safe_path, parse_name
from lite.hub.part import Part
from lite.library import resolve
from tests.http_servers import Reply, free_port
from tests.hub_server import COMMIT, FakeHub, breaks_after, says, send
from tests.model_stores import at_home, header

NAME = "n-Q8_0.gguf"
DATA = header(size=5_000_000)
BLOBS = "models--o--n/blobs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    at_home(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def cache(home: Path) -> Path:
    return home / ".cache" / "huggingface" / "hub"


@pytest.fixture
def server() -> Iterator[FakeHub]:
    with FakeHub({NAME: DATA, "sub/small.gguf": header(size=200)}, small=frozenset({"sub/small.gguf"})) as server:
        yield server


@contextmanager
def client(server: FakeHub, cache: Path, **settings: object) -> Iterator[tuple[Hub, list[float]]]:
    waits: list[float] = []
    config = replace(HubConfig(endpoint=server.endpoint, cache=cache), **settings)
    with Hub(config, pause=waits.append) as hub:
        yield hub, waits


def pull(server: FakeHub, cache: Path, name: str = NAME, **settings: object) -> tuple[Path, list[float]]:
    """What `lite pull` does, without its words; and how long it waited between attempts."""
    with client(server, cache, **settings) as (hub, waits):
        listing = hub.listing("o/n", "main")
        file = hub.described("o/n", listing.commit, named(listing.files, HubName("o/n", name)))
        return fetch(hub, "o/n", "main", listing.commit, file, lambda have, total: None), waits


def part(cache: Path) -> Path:
    return cache / BLOBS / f"{hashlib.sha256(DATA).hexdigest()}.incomplete"


def test_a_file_comes_from_another_port_and_lies_where_every_tool_finds_it(server: FakeHub, cache: Path) -> None:
    path, waits = pull(server, cache)
    assert path.read_bytes() == DATA
    assert path == cache / "models--o--n" / "snapshots" / COMMIT / NAME
    assert path.is_symlink()
    assert path.resolve().name == hashlib.sha256(DATA).hexdigest()
    assert not part(cache).exists()
    assert waits == []
    assert resolve("hf:o/n") == resolve("hf:o/n:Q8_0") == path


def test_the_hubs_own_library_reads_what_we_write(server: FakeHub, cache: Path) -> None:
    library = pytest.importorskip("huggingface_hub")
    path, _ = pull(server, cache)
    pull(server, cache, "small.gguf")
    assert library.try_to_load_from_cache("o/n", NAME, cache_dir=cache) == str(path)
    (repo,) = library.scan_cache_dir(cache).repos
    assert (repo.repo_id, repo.nb_files, repo.size_on_disk) == ("o/n", 2, len(DATA) + 200)
    assert [(one.commit_hash, set(one.refs)) for one in repo.revisions] == [(COMMIT, {"main"})]


def test_a_small_file_is_checked_by_the_sum_that_git_gives(server: FakeHub, cache: Path) -> None:
    assert pull(server, cache, "sub/small.gguf")[0].read_bytes() == header(size=200)
    server.etags["sub/small.gguf"] = "0" * 40
    with pytest.raises(ModelError, match="checksum"):
        pull(server, cache / "other", "sub/small.gguf")


def test_what_is_there_is_not_fetched_again(server: FakeHub, cache: Path) -> None:
    path, _ = pull(server, cache)
    pull(server, cache)
    assert len(server.ranges) == 1
    assert local_file(cache, "o/n", COMMIT, RepoFile(NAME, len(DATA))) == path
    assert local_file(cache, "o/n", COMMIT, RepoFile(NAME, len(DATA) + 1)) is None
    path.unlink()
    assert pull(server, cache)[0].read_bytes() == DATA
    assert len(server.ranges) == 1


def test_a_broken_connection_goes_on_where_it_was(server: FakeHub, cache: Path) -> None:
    server.store_faults += [breaks_after(DATA, 2_000_000), breaks_after(DATA, 1_000_000)]
    path, waits = pull(server, cache)
    assert path.read_bytes() == DATA
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for asked in server.ranges]
    assert 0 < starts[1] <= 2_000_000 < len(DATA)
    assert starts[1] < starts[2] <= 3_000_000
    assert waits == [1.0, 1.0]


def test_a_body_that_ends_too_soon_is_no_file(server: FakeHub, cache: Path) -> None:
    def half(reply: Reply) -> bool:
        reply.head(200, "application/octet-stream")  # without a length: its end looks like the end
        reply.send(DATA[:3_000_000])
        return True

    server.store_faults.append(half)
    assert pull(server, cache)[0].read_bytes() == DATA
    assert server.ranges == ["", "bytes=3000000-"]


def test_another_process_goes_on_with_what_one_has_left(server: FakeHub, cache: Path) -> None:
    server.store_faults += [breaks_after(DATA, 2_000_000), *[says(503)] * 5]
    with pytest.raises(ModelError, match=r"HTTP 503, 5 times in a row"):
        pull(server, cache)
    left = part(cache).stat().st_size
    assert 0 < left <= 2_000_000
    server.store_faults.clear()
    assert pull(server, cache)[0].read_bytes() == DATA
    assert server.ranges[-1] == f"bytes={left}-"


def test_a_link_that_has_expired_is_asked_of_the_hub_again(server: FakeHub, cache: Path) -> None:
    server.store_faults.append(says(403))
    assert pull(server, cache)[1] == [1.0]
    assert len([path for path in server.hub.paths if "/resolve/" in path]) == 3


def test_an_interrupt_leaves_what_has_come(server: FakeHub, cache: Path) -> None:
    def interrupt(have: int, total: int) -> None:
        if have > 1_000_000:
            raise KeyboardInterrupt

    with client(server, cache) as (hub, _):
        file = hub.described("o/n", COMMIT, RepoFile(NAME, 0))
        with pytest.raises(KeyboardInterrupt):
            fetch(hub, "o/n", "main", COMMIT, file, interrupt)
    left = part(cache).stat().st_size
    assert 1_000_000 < left < len(DATA)
    assert part(cache).read_bytes() == DATA[:left]
    assert pull(server, cache)[0].read_bytes() == DATA
    assert server.ranges == ["", f"bytes={left}-"]


def test_a_server_that_cannot_go_on_in_the_middle_begins_anew(server: FakeHub, cache: Path) -> None:
    def whole(reply: Reply) -> bool:
        send(reply, DATA, 0, len(DATA))
        return True

    part(cache).parent.mkdir(parents=True)
    part(cache).write_bytes(DATA[:100])
    server.store_faults.append(whole)
    assert pull(server, cache)[0].read_bytes() == DATA
    assert server.ranges == ["bytes=100-"]


def test_a_server_that_goes_on_elsewhere_is_not_believed(server: FakeHub, cache: Path) -> None:
    def elsewhere(reply: Reply) -> bool:
        reply.head(206, "application/octet-stream", Content_Range=f"bytes 7-{len(DATA) - 1}/{len(DATA)}")
        reply.send(DATA[7:])
        return True

    part(cache).parent.mkdir(parents=True)
    part(cache).write_bytes(DATA[:100])
    server.store_faults.append(elsewhere)
    assert pull(server, cache)[0].read_bytes() == DATA


def test_a_wrong_checksum_is_told_and_the_data_thrown_away(server: FakeHub, cache: Path) -> None:
    part(cache).parent.mkdir(parents=True)
    part(cache).write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"what came has the checksum [0-9a-f]{64}, and not [0-9a-f]{64}.*thrown away"):
        pull(server, cache)
    assert not (cache / "models--o--n" / "snapshots").exists()
    assert pull(server, cache)[0].read_bytes() == DATA


def test_more_bytes_than_the_file_has_are_refused(server: FakeHub, cache: Path) -> None:
    def more(reply: Reply) -> bool:
        reply.head(200, "application/octet-stream")
        reply.send(DATA + b"x" * 2_000_000)
        return True

    server.store_faults.append(more)
    with pytest.raises(ModelError, match=rf"more than the file's {len(DATA)} bytes"):
        pull(server, cache)


def test_a_part_that_is_too_long_is_no_part(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"abcdef")
    with Part(tmp_path / "part", 3, hashlib.sha256(b"abc").hexdigest()) as long:
        assert long.size == 0
        long.write(b"abc")
        long.check()


def test_too_little_room_is_told_before_a_byte_is_asked_for(
    server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=66 << 20))
    with pytest.raises(UsageError, match=r"n-Q8_0.gguf needs 4 MiB more at .*, where 66 MiB are free: make room"):
        pull(server, cache)
    assert server.ranges == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=70 << 20))
    pull(server, cache)


def test_a_disk_that_fills_up_keeps_what_it_has(server: FakeHub, cache: Path) -> None:
    """A limit on the size of files refuses a write as a full disk does: in the middle."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_500_000, limits[1]))
    try:
        with pytest.raises(ModelError, match=r"cannot write to .*: File too large; make room there, or set HF_HUB_"):
            pull(server, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert part(cache).read_bytes() == DATA[:2_500_000]
    assert pull(server, cache)[0].read_bytes() == DATA
    assert server.ranges[-1] == "bytes=2500000-"


def test_a_cache_that_may_not_be_written_to_is_told(server: FakeHub, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file, and no folder")
    with pytest.raises(ModelError, match=r"cannot write to .*set HF_HUB_CACHE"):
        pull(server, cache)


def test_where_links_are_not_allowed_the_file_itself_is_put_there(
    server: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    path, _ = pull(server, cache)
    assert path.read_bytes() == DATA
    assert not path.is_symlink()
    assert resolve("hf:o/n") == path


def test_two_do_not_fetch_one_file_at_once(server: FakeHub, cache: Path) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    lock = cache / ".locks" / "models--o--n" / f"{digest}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(ModelError, match="another process is fetching"):
        pull(server, cache)
    pull(server, cache)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda server: vars(server).update(repo="o/other"), UsageError, "no model o/n, or it is private.*HF_TOKEN"),
        (lambda server: vars(server).update(gated=True), UsageError, "o/n is gated: accept its terms at http.*/o/n"),
        (lambda server: server.lists_faults.append(says(404)), ModelError, "there is no model o/n"),
        (lambda server: server.lists_faults.append(says(403)), UsageError, "private"),
        (lambda server: server.lists_faults.append(says(418)), ModelError, "answers HTTP 418 for o/n"),
        (lambda server: server.lists_faults.append(nonsense(b"<html>")), ModelError, "cannot be read: is HF_ENDPOINT"),
        (lambda server: server.lists_faults.append(nonsense(b"[" * 9999)), ModelError, "cannot be read"),
        (lambda server: server.lists_faults.append(nonsense(b'{"sha": "1", "siblings": []}')), ModelError, "no commit"),
        (lambda server: server.lists_faults.append(nonsense(b'{"sha": "1", "siblings": [1]}')), ModelError, "be read"),
        (lambda server: server.etags.update({NAME: "W/abc"}), ModelError, "does not tell the checksum"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(
    server: FakeHub, cache: Path, make: Callable[[FakeHub], object], error: type[Exception], words: str
) -> None:
    server.token = "t" if make(server) is None and server.repo == "o/other" else ""
    with pytest.raises(error, match=words) as told:
        pull(server, cache)
    assert "\n" not in str(told.value)


def nonsense(text: bytes) -> Callable[[Reply], bool]:
    def act(reply: Reply) -> bool:
        reply.head(200, "application/json")
        reply.send(text)
        return True

    return act


def test_an_unknown_branch_is_told(server: FakeHub, cache: Path) -> None:
    with client(server, cache) as (hub, _), pytest.raises(ModelError, match="no such branch, tag or commit in o/n"):
        hub.listing("o/n", "nonsense")


def test_a_busy_hub_is_waited_for_as_it_asks(server: FakeHub, cache: Path) -> None:
    server.lists_faults += [says(429, Retry_After="7"), says(500), says(429, Retry_After="not a time")]
    path, waits = pull(server, cache)
    assert path.read_bytes() == DATA
    assert waits == [7.0, 2.0, 4.0]
    server.lists_faults.append(says(503, Retry_After="3600"))
    with pytest.raises(ModelError, match="asks for 3600 s of patience"):
        pull(server, cache)


def test_a_hub_that_is_not_there_is_told_after_some_attempts(cache: Path) -> None:
    waits: list[float] = []
    config = HubConfig(endpoint=f"http://127.0.0.1:{free_port()}", cache=cache, attempts=3)
    with (
        Hub(config, pause=waits.append) as hub,
        pytest.raises(ModelError, match=r"no connection to 127.0.0.1, 3 times"),
    ):
        hub.listing("o/n", "main")
    assert waits == [1.0, 2.0]


def test_a_server_that_falls_silent_counts_as_broken(server: FakeHub, cache: Path) -> None:
    def silent(reply: Reply) -> bool:
        reply.wait(0.5)
        return True

    server.lists_faults.append(silent)
    assert pull(server, cache, silence_seconds=0.1)[1] == [1.0]


def test_the_token_goes_to_the_hub_and_nowhere_else(server: FakeHub, cache: Path) -> None:
    server.token = "hf_secret"
    assert pull(server, cache, token="hf_secret")[0].read_bytes() == DATA
    assert all(one.get("Authorization") == "Bearer hf_secret" for one in server.hub.headers)
    assert not any("Authorization" in one for one in server.store.headers)
    assert "hf_secret" not in repr(HubConfig(cache=cache, token="hf_secret"))


def test_a_token_that_is_refused_is_not_shown(server: FakeHub, cache: Path) -> None:
    server.token = "another"
    with pytest.raises(UsageError, match=r"does not show o/n to the owner of this token \(HTTP 401\)") as told:
        pull(server, cache, token="hf_secret")
    assert "hf_secret" not in str(told.value)


def test_a_redirect_that_goes_round_and_round_ends(server: FakeHub, cache: Path) -> None:
    def around(reply: Reply) -> bool:
        reply.head(302, "text/plain", Location=reply.path, Content_Length="0")
        return True

    server.lists_faults += [around] * 20
    with pytest.raises(ModelError, match="redirected more than 5 times"):
        pull(server, cache)


def test_a_renamed_repository_is_followed(server: FakeHub, cache: Path) -> None:
    def moved(reply: Reply) -> bool:
        reply.head(307, "text/plain", Location=reply.path.replace("/o/n/", "/o/n/", 1), Content_Length="0")
        return True

    server.token = "hf_secret"
    server.lists_faults.append(moved)
    assert pull(server, cache, token="hf_secret")[0].read_bytes() == DATA


def test_paths_that_lead_elsewhere_are_not_listed(server: FakeHub, cache: Path) -> None:
    server.files = dict.fromkeys(("../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "a\\x.gguf", "C:x.gguf", "ok"), b"x")
    with client(server, cache) as (hub, _):
        assert [one.path for one in hub.listing("o/n", "main").files] == ["ok"]


@pytest.mark.parametrize("path", ["", ".", "..", "a//b", "a/./b", "a/", "/a", "a\nb", "a\0b", "con|x"])
def test_a_path_must_be_one_on_every_system(path: str) -> None:
    assert not is_safe_path(path)


def test_the_settings_are_those_of_the_hubs_own_tools(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_config() == HubConfig(cache=home / ".cache" / "huggingface" / "hub")
    stored = home / ".cache" / "huggingface" / "token"
    stored.parent.mkdir(parents=True)
    stored.write_text("hf_stored\n")
    assert hub_config().token == "hf_stored"
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    monkeypatch.setenv("HF_HUB_CACHE", "~/models")
    assert hub_config() == HubConfig(cache=home / "models", endpoint="https://mirror.example", token="hf_given")
    monkeypatch.setenv("HF_TOKEN", "two words")
    with pytest.raises(UsageError, match="HF_TOKEN holds characters"):
        hub_config()


def test_a_token_is_not_sent_unencrypted(cache: Path) -> None:
    with pytest.raises(UsageError, match=r"would travel unencrypted to hub.example"):
        HubConfig(cache=cache, endpoint="http://hub.example", token="hf_secret")
    HubConfig(cache=cache, endpoint="http://hub.example")
    with pytest.raises(UsageError, match="HF_ENDPOINT must be like"):
        HubConfig(cache=cache, endpoint="hub.example")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:Qwen/Qwen3-0.6B-GGUF", HubName("Qwen/Qwen3-0.6B-GGUF")),
        ("Qwen/Qwen3-0.6B-GGUF", HubName("Qwen/Qwen3-0.6B-GGUF")),
        ("hf:o/n:sub/m-Q8_0.gguf", HubName("o/n", "sub/m-Q8_0.gguf")),
        ("hf://o/n:Q8_0", HubName("o/n", "Q8_0")),
    ],
)
def test_names(text: str, name: HubName) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize("text", ["", "hf:", "hf:o", "o/", "hf:o/n:", "o/n/m", "../n", "o/a..b", "o/a--b", "o/n?x=1"])
def test_what_names_no_repository_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no repository"):
        parse_name(text)


def files(*paths: str) -> list[RepoFile]:
    return [RepoFile(path, 1) for path in paths]


def test_the_rule_for_a_file_that_is_not_named() -> None:
    known = files("n-F16.gguf", "README.md", "n-Q8_0.gguf", "mmproj-n-Q4_K_M.gguf", "n-Q4_K_M.gguf", "n.imatrix.gguf")
    models = candidates(known)
    assert [one.path for one in models] == ["n-Q4_K_M.gguf", "n-Q8_0.gguf", "n-F16.gguf"]
    assert preferred(models) == models[0]
    assert preferred(files("odd.gguf")) == RepoFile("odd.gguf", 1)
    assert preferred(files("a.gguf", "b.gguf")) is None
    assert preferred(files("n-Q8_0-00001-of-00002.gguf")) is None
    assert list(PREFERRED).index("Q4_K_M") == 0


def test_a_file_is_named_in_full_or_in_short() -> None:
    known = files("sub/n-Q8_0.gguf", "n-Q4_0.gguf", "other-Q4_0.gguf", "big-F16-00001-of-00002.gguf")
    for short in ("sub/n-Q8_0.gguf", "n-Q8_0.gguf", "N-q8_0", "q8_0"):
        assert named(known, HubName("o/n", short)) == known[0]
    with pytest.raises(UsageError, match=r"hf:o/n:Q4_0 could be n-Q4_0.gguf or other-Q4_0.gguf"):
        named(known, HubName("o/n", "Q4_0"))
    with pytest.raises(ModelError, match=r"split into 2 files"):
        named(known, HubName("o/n", "F16"))
    with pytest.raises(ModelError, match=r"no file 'sub/n-Q8.gguf'; did you mean 'sub/n-Q8_0.gguf'\?"):
        named(known, HubName("o/n", "sub/n-Q8.gguf"))


def test_nothing_is_asked_before_the_first_call(cache: Path) -> None:
    with Hub(HubConfig(endpoint=f"http://127.0.0.1:{free_port()}", cache=cache)):
        pass
    assert not cache.exists()
