"""Arrows go one way, the public face is listed, and nothing heavy is loaded before it is used."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lite

ROOT = Path(lite.__file__).parent
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}

INTERFACE = ("lite.sampler", "lite.params", "lite.ledger", "lite.errors")
ABOVE = ("lite.api", "lite.cli", "lite.registry", "lite.engines", "lite.serve", "lite.evaluate")
DRIVING = ("lite.runner", "lite.task", "lite.record", "lite.budget", "lite.strategies")
ENGINE = ("lite.engine",)

ONLY = {
    "lite.strategies": (*INTERFACE, "lite.answers", "lite.strategies"),
    "lite.answers": INTERFACE,
    **dict.fromkeys(INTERFACE, INTERFACE),
}
"""What these may import of lite, and nothing else of it."""

NEVER = {
    **dict.fromkeys(ENGINE, (*ABOVE, *DRIVING)),
    **dict.fromkeys(("lite.runner", "lite.task", "lite.record", "lite.budget"), (*ABOVE, *ENGINE, "lite.backends")),
    "lite.backends": (*ABOVE, *DRIVING, *ENGINE),
    "lite.quant": (*ABOVE, *DRIVING, *ENGINE, "lite.backends"),
    "lite.evaluate": ("lite.cli", "lite.serve"),
    "lite.api": ("lite.cli", "lite.serve", "lite.evaluate"),
    **dict.fromkeys(("lite.registry", "lite.engines"), ("lite.cli", "lite.serve", "lite.evaluate", "lite.api")),
}
HEAVY = ("jax", "onnxruntime", "llama_cpp", "openvino", "numpy")


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imports(path: Path) -> Iterator[str]:
    """Every module of lite that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if inside(alias.name, "lite"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if inside(node.module or "", "lite"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else str(node.module) for name in names)


def importers(package: str) -> dict[str, list[str]]:
    return {name: [*imports(path)] for name, path in MODULES.items() if inside(name, package)}


@pytest.mark.parametrize("package", ONLY)
def test_imports_only_what_stands_below(package: str) -> None:
    for module, imported in importers(package).items():
        strangers = [name for name in imported if not any(inside(name, allowed) for allowed in ONLY[package])]
        assert not strangers, f"{module} imports {strangers}"


@pytest.mark.parametrize("package", NEVER)
def test_imports_nothing_that_stands_above(package: str) -> None:
    for module, imported in importers(package).items():
        wrong = [name for name in imported if any(inside(name, forbidden) for forbidden in NEVER[package])]
        assert not wrong, f"{module} imports {wrong}"


def test_only_the_composition_root_imports_a_concrete_backend() -> None:
    for module, imported in importers("lite").items():
        if any(inside(module, root) for root in ("lite.registry", "lite.engines", "lite.backends")):
            continue
        concrete = [name for name in imported if inside(name, "lite.backends") and name != "lite.backends.base"]
        assert not concrete, f"{module} imports {concrete}"


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", MODULES)
def test_listed_names_are_sorted(module: str) -> None:
    listed = public_names(module)
    assert listed == sorted(set(listed), key=rank)


@pytest.mark.parametrize("module", lite._HOMES)
def test_the_public_modules_list_every_class_and_function(module: str) -> None:
    """Elsewhere a name without an underscore may stay unlisted: it belongs to the package, not to users."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    defined = {node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")}
    assert defined <= {*public_names(module), *lite._HOMES[module]}


def public_names(module: str) -> list[str]:
    """The module's `__all__`; [] where it has none."""
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    return next((_names(node) for node in body if isinstance(node, ast.Assign) and _is_all(node)), [])


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def _names(node: ast.Assign) -> list[str]:
    return [str(name) for name in ast.literal_eval(node.value)]


def test_every_public_name_can_be_imported_from_its_home() -> None:
    for name in lite.__all__:
        assert getattr(lite, name) is not None
    homes = {name for names in lite._HOMES.values() for name in names}
    assert homes | {"__version__"} == set(lite.__all__)
    for home, names in lite._HOMES.items():
        listed = getattr(importlib.import_module(home), "__all__", names)
        assert set(names) <= set(listed)
    assert set(dir(lite)) == set(lite.__all__)


def test_every_error_is_public() -> None:
    assert set(importlib.import_module("lite.errors").__all__) <= set(lite.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lite.nonsense  # type: ignore[attr-defined]


COMMAND = """
import sys, lite.cli
sys.argv = ["lite", *{}]
try:
    lite.cli.main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import lite",
        "import lite; [getattr(lite, name) for name in lite.__all__]",
        *(COMMAND.format(words) for words in (["--help"], ["run", "--help"], ["--version"], ["ls"], ["strategies"])),
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    tell = f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_import_takes_less_than_50_milliseconds() -> None:
    """The best of five, as other work may have the processor."""
    code = "import time; start = time.perf_counter(); import lite; print(time.perf_counter() - start)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5)]
    assert min(seconds) < 0.05
