"""Which models are at hand: lite's own, and what other programs have fetched."""

import json
import os
from pathlib import Path

import pytest

from lite.config import embedded_model
from lite.errors import ModelError
from lite.library import find_models, resolve, shown_name
from lite.quant.gguf import open_gguf
from lite.stores import llama_cpp, ollama
from lite.stores.found import FoundModel, Search, quantization
from tests.gguf_files import write_gguf
from tests.model_stores import at_home, header, hub_file, ollama_model, put


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """lite's own folder; nothing else is at hand."""
    at_home(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("LITE_MODELS_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def home(folder: Path) -> Path:
    return folder / "home"


def found() -> dict[str, FoundModel]:
    return {model.name: model for model in find_models() if not model.embedded}


def hub(home: Path) -> Path:
    return home / ".cache" / "huggingface" / "hub"


def test_finds_the_embedded_model_and_those_in_the_folders(folder: Path) -> None:
    write_gguf(folder / "b.gguf")
    write_gguf(folder / "a.gguf")
    (folder / "notes.txt").write_text("not a model")
    models = {model.name: model for model in find_models()}
    assert list(models) == [embedded_model().stem, "a", "b"]
    assert models["a"].path == folder / "a.gguf"
    assert models["a"].num_bytes == (folder / "a.gguf").stat().st_size
    assert [model.name for model in models.values() if model.embedded] == [embedded_model().stem]


def test_of_two_folders_the_first_wins_and_a_missing_one_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [folder / "none", folder / "first", folder / "second"]
    for path in folders[1:]:
        put(path / "m.gguf", header())
    monkeypatch.setenv("LITE_MODELS_DIR", os.pathsep.join(map(str, folders)))
    assert [model.path for model in find_models() if not model.embedded] == [folders[1] / "m.gguf"]
    assert resolve("m") == folders[1] / "m.gguf"


def test_resolves_names_paths_and_the_default(folder: Path) -> None:
    path = write_gguf(folder / "Small-1.gguf")
    assert resolve() == embedded_model()
    assert resolve("small-1") == resolve("Small-1.gguf") == resolve(path) == path
    assert resolve("~/x.gguf") == Path("~/x.gguf").expanduser()
    assert resolve("no/such.gguf") == Path("no/such.gguf")
    assert resolve("~nobody-of-that-name/x.gguf") == Path("~nobody-of-that-name/x.gguf")


def test_an_unknown_name_says_where_it_was_looked_for_and_what_was_perhaps_meant(folder: Path) -> None:
    write_gguf(folder / "small.gguf")
    with pytest.raises(ModelError, match=rf"no model 'smal'.*{folder}.* did you mean 'small'\? `lite ls`"):
        resolve("smal")
    for odd in ("x" * 5000, "a\0b", "."):
        with pytest.raises(ModelError):
            open_gguf(resolve(odd))
    with pytest.raises(ModelError, match=r"no model 'zzzz', neither as a file nor by name in .*; `lite ls`"):
        resolve("zzzz")


def test_a_file_of_the_hub_has_a_name_and_several_short_ones(home: Path) -> None:
    link = hub_file(hub(home), "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", header())
    assert found()["hf:Qwen/Qwen3-0.6B-GGUF"].path == link
    for name in (
        *("hf:Qwen/Qwen3-0.6B-GGUF", "hf:qwen/qwen3-0.6b-gguf:q8_0", "hf:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf"),
        *("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-GGUF", "qwen3-0.6b-q8_0", "Qwen/Qwen3-0.6B-GGUF:Q8_0"),
    ):
        assert resolve(name) == link


def test_of_several_files_one_must_be_named(home: Path) -> None:
    for kind in ("Q4_K_M", "Q8_0"):
        hub_file(hub(home), "o/n", f"n-{kind}.gguf", header(kind))
    assert set(found()) == {"hf:o/n:n-Q4_K_M.gguf", "hf:o/n:n-Q8_0.gguf"}
    assert resolve("o/n:q8_0").name == "n-Q8_0.gguf"
    with pytest.raises(ModelError, match=r"'o/n' could be hf:o/n:n-Q4_K_M.gguf, hf:o/n:n-Q8_0.gguf: name one"):
        resolve("o/n")


def test_the_main_branch_comes_before_an_older_snapshot(home: Path) -> None:
    hub_file(hub(home), "o/n", "m.gguf", header(size=50), commit="f" * 40, branch="old")
    link = hub_file(hub(home), "o/n", "m.gguf", header(size=60), commit="a" * 40)
    os.utime(link.parents[1] / ("f" * 40), (2e9, 2e9))
    assert resolve("hf:o/n") == link


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_the_hubs_cache_may_lie_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    below = {"HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}.get(variable, ".")
    link = hub_file(home / "x" / below, "o/n", "m.gguf", header())
    monkeypatch.setenv("HERE", str(home))
    monkeypatch.setenv(variable, "$HERE/x")
    assert resolve("hf:o/n").resolve() == link.resolve()


def test_a_link_whose_data_is_gone_is_told(home: Path) -> None:
    link = hub_file(hub(home), "o/n", "m.gguf", header())
    link.resolve().unlink()
    assert "gone" in found()["hf:o/n"].problem
    with pytest.raises(ModelError, match=r"hf:o/n .*cannot be used: its data is gone"):
        resolve("hf:o/n")


def test_a_split_model_is_one_and_refused_with_the_way_out(home: Path, folder: Path) -> None:
    for part in (1, 2, 3):
        hub_file(hub(home), "o/n", f"Q4_K_M/n-Q4_K_M-{part:05}-of-00003.gguf", header())
    assert list(found()) == ["hf:o/n"]
    with pytest.raises(ModelError, match=r"split into 3 files.*llama-gguf-split --merge"):
        resolve("hf:o/n:Q4_K_M")
    part = write_gguf(folder / "part.gguf", metadata={"split.count": 3})
    with pytest.raises(ModelError, match="one part of a split model"):
        open_gguf(part)


def test_what_is_no_language_model_is_left_out(home: Path) -> None:
    hub_file(hub(home), "o/n", "n.gguf", header())
    hub_file(hub(home), "o/n", "mmproj-n.gguf", header("clip", 70))
    put(hub(home) / "datasets--o--d" / "snapshots" / "1" / "m.gguf", header())
    assert list(found()) == ["hf:o/n"]


def test_a_file_that_is_no_gguf_says_so(home: Path) -> None:
    hub_file(hub(home), "o/n", "n.gguf", b"<html>not found</html> and so on")
    assert "not a GGUF file" in found()["hf:o/n"].problem


def test_folders_of_weights_are_found_when_they_are_language_models(home: Path) -> None:
    config = json.dumps({"architectures": ["Qwen3ForCausalLM"]}).encode()
    hub_file(hub(home), "o/plain", "config.json", config)
    link = hub_file(hub(home), "o/plain", "model.safetensors", b"x" * 1000)
    hub_file(hub(home), "o/onnx", "config.json", config)
    hub_file(hub(home), "o/onnx", "onnx/model.onnx", b"y" * 10)
    hub_file(hub(home), "o/genai", "genai_config.json", b"{}")
    hub_file(hub(home), "o/genai", "model.onnx", b"y" * 10)
    hub_file(hub(home), "o/image", "config.json", b'{"architectures": ["ViTModel"]}')
    hub_file(hub(home), "o/image", "model.safetensors", b"x")
    kinds = {name: (model.kind, model.num_bytes) for name, model in found().items()}
    assert kinds == {"hf:o/genai": ("onnx", 10), "hf:o/onnx": ("onnx", 10), "hf:o/plain": ("safetensors", 1000)}
    assert resolve("hf:o/plain") == resolve("plain") == link.parent
    link.resolve().unlink()
    with pytest.raises(ModelError, match="some of its data is gone"):
        resolve("hf:o/plain")


@pytest.mark.parametrize(
    ("manifest", "name", "short"),
    [
        ("registry.ollama.ai/library/qwen3/0.6b", "ollama:qwen3:0.6b", "qwen3:0.6b"),
        ("registry.ollama.ai/library/qwen3/latest", "ollama:qwen3:latest", "qwen3"),
        ("registry.ollama.ai/someone/qwen3/0.6b", "ollama:someone/qwen3:0.6b", "someone/qwen3:0.6b"),
        ("hf.co/o/n-GGUF/Q4_K_M", "ollama:hf.co/o/n-GGUF:Q4_K_M", "hf.co/o/n-gguf:q4_k_m"),
    ],
)
def test_ollamas_models_go_by_its_own_names(home: Path, manifest: str, name: str, short: str) -> None:
    blob = ollama_model(home / ".ollama" / "models", manifest, header())
    assert found()[name].path == blob
    assert resolve(name) == resolve(short) == resolve(f"ollama:{short}") == blob


def test_a_damaged_store_of_ollama_gives_problems_and_no_failure(home: Path) -> None:
    models = home / ".ollama" / "models"
    ollama_model(models, "registry.ollama.ai/library/half/1b", header(), size=10**9)
    ollama_model(models, "registry.ollama.ai/library/gone/1b", header(size=120)).unlink()
    ollama_model(models, "registry.ollama.ai/library/image/1b", header("clip", 130))
    ollama_model(models, "registry.ollama.ai/library/out/1b", header(), digest="sha256:../../../etc/passwd")
    ollama_model(models, "registry.ollama.ai/library/odd/1b", b"safetensors, not GGUF, as some models there are")
    put(models / "manifests" / "registry.ollama.ai" / "library" / "json" / "1b", "{")
    put(models / "manifests" / "registry.ollama.ai" / "library" / "list" / "1b", "[1]")
    put(models / "manifests" / "registry.ollama.ai" / "library" / "none" / "1b", '{"layers": []}')
    put(models / "blobs" / ("sha256-" + "2" * 64 + "-partial"), header())
    problems = {name: model.problem for name, model in found().items()}
    assert set(problems) == {"ollama:half:1b", "ollama:gone:1b", "ollama:odd:1b"}
    assert "100 of its 1000000000 bytes" in problems["ollama:half:1b"]
    assert "gone" in problems["ollama:gone:1b"]
    assert "not a GGUF file" in problems["ollama:odd:1b"]


def test_lm_studio_is_looked_for_in_each_of_its_homes(home: Path, folder: Path) -> None:
    files = [
        put(home / ".lmstudio" / "models" / "o" / "first" / "m-Q8_0.gguf", header()),
        put(home / ".cache" / "lm-studio" / "models" / "o" / "second" / "m-Q4_0.gguf", header()),
        put(folder / "big disk" / "o" / "third" / "m-F16.gguf", header()),
        put(folder / "moved" / "models" / "o" / "fourth" / "m-BF16.gguf", header()),
    ]
    put(home / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": str(folder / "big disk")}))
    put(home / ".lmstudio-home-pointer", f"{folder / 'moved'}\n")
    put(home / ".cache" / "lm-studio" / "settings.json", "not JSON")
    for repo, path in zip(("first", "second", "third", "fourth"), files, strict=True):
        assert resolve(f"lmstudio:o/{repo}") == resolve(f"o/{repo}") == path
    put(files[0].parent / "m-Q4_K_M.gguf", header())
    assert resolve("lmstudio:o/first:m-Q4_K_M.gguf") == files[0].parent / "m-Q4_K_M.gguf"


def test_llama_cpps_cache_in_both_of_its_layouts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama"))
    path = put(home / "llama" / "o_n_n-Q8_0.gguf", header())
    put(home / "llama" / "o_n_other.gguf.downloadInProgress", header())
    link = hub_file(home / "llama", "o/later", "m.gguf", header())
    assert set(found()) == {"llama.cpp:o_n_n-Q8_0", "hf:o/later"}
    assert resolve("llama.cpp:o_n_n-q8_0") == resolve("o_n_n-Q8_0.gguf") == path
    assert resolve("hf:o/later") == link
    first = hub_file(hub(home), "o/later", "other.gguf", header())
    assert resolve("hf:o/later") == found()["hf:o/later"].path == first
    assert resolve("hf:o/later:m.gguf") == link


@pytest.mark.parametrize(
    ("platform", "variable", "place"),
    [("linux", "XDG_CACHE_HOME", "c/llama.cpp"), ("win32", "LOCALAPPDATA", "c/llama.cpp"), ("darwin", "", "Library")],
)
def test_every_platform_has_its_folders(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str, place: str
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.delenv("OLLAMA_MODELS")
    if variable:
        monkeypatch.setenv(variable, str(home / "c"))
    assert llama_cpp.folder().is_relative_to(home / place)
    assert ollama.folders()[0] == home / ".ollama" / "models"
    assert len(ollama.folders()) == (2 if platform == "linux" else 1)


def test_the_same_file_twice_is_no_question_but_two_files_of_a_name_are(home: Path) -> None:
    link = hub_file(hub(home), "o/n", "n-Q8_0.gguf", header())
    studio = home / ".lmstudio" / "models" / "o" / "n" / "n-Q8_0.gguf"
    studio.parent.mkdir(parents=True)
    studio.symlink_to(link)
    assert resolve("n-Q8_0") == link
    studio.unlink()
    put(studio, header(size=200))
    with pytest.raises(ModelError, match=r"could be hf:o/n, lmstudio:o/n: name one"):
        resolve("n-Q8_0")
    assert resolve("lmstudio:o/n") == studio


def test_a_model_is_called_by_its_file_or_by_what_was_asked_for_where_that_is_a_digest(home: Path) -> None:
    blob = ollama_model(home / ".ollama" / "models", "registry.ollama.ai/library/qwen3/0.6b", header())
    link = hub_file(hub(home), "o/n", "n-Q8_0.gguf", header(size=90))
    assert shown_name("qwen3:0.6b", blob) == "qwen3:0.6b"
    assert shown_name("hf:o/n", link) == "n-Q8_0"
    assert shown_name("hf:o/n", link.parent) == "hf:o/n"
    assert shown_name(None, embedded_model()) == embedded_model().stem


def test_lites_own_folder_comes_first(home: Path, folder: Path) -> None:
    hub_file(hub(home), "o/n", "n-Q8_0.gguf", header())
    own = put(folder / "n-Q8_0.gguf", header())
    assert resolve("n-q8_0") == own


def test_a_model_that_is_not_on_the_disk_names_the_command_that_fetches_it(home: Path) -> None:
    hub_file(hub(home), "Qwen/Qwen3-0.6B-GGUF", "m.gguf", header())
    with pytest.raises(
        ModelError, match=r"no model 'hf:Qwen/Qwen3-0.6B'.* mean 'hf:Qwen/.*`lite pull hf:Qwen/Qwen3-0.6B`"
    ):
        resolve("hf:Qwen/Qwen3-0.6B")
    with pytest.raises(ModelError, match=r"no model 'ollama:qwen3'.*`lite ls`"):
        resolve("ollama:qwen3")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_passed_over_and_told(home: Path) -> None:
    closed = put(hub(home) / "models--o--n" / "snapshots" / "1" / "m.gguf", header()).parent
    closed.chmod(0)
    search = Search()
    try:
        assert not [model for model in find_models(search) if not model.embedded]
    finally:
        closed.chmod(0o700)
    assert search.skipped == [f"{closed}: Permission denied"]


def test_a_folder_that_fails_is_passed_over_and_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / ".ollama" / "models" / "manifests" / "h" / "n" / "m" / "t", "{}")
    listed = Path.iterdir

    def refuse(self: Path) -> object:
        if self.name == "manifests":
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    search = Search()
    find_models(search)
    assert search.skipped == [f"{home / '.ollama' / 'models' / 'manifests'}: Permission denied"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_that_is_called_a_model_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.gguf")
    assert not found()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("m.Q4_K_M.gguf", "Q4_K_M"),
        ("m-IQ4_XS.gguf", "IQ4_XS"),
        ("m-bf16.GGUF", "BF16"),
        ("m-UD-Q4_K_XL-00001-of-00002.gguf", "UD-Q4_K_XL"),
        ("Qwen3.gguf", ""),
    ],
)
def test_a_files_name_tells_how_it_is_quantized(name: str, kind: str) -> None:
    assert quantization(name) == kind
