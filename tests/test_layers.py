"""Who may import whom."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "engine" / "semscale"
LEAVES = {"cores", "errors", "model"}  # imported by all
ALLOWED = {  # room -> the other rooms of the engine it may import
    "cores": set(),
    "errors": set(),
    "model": {"errors"},
    "files": LEAVES,
    "locks": LEAVES | {"files"},
    "settings": LEAVES | {"locks"},
    "timing": LEAVES,
    "prefetch": LEAVES,
    "plan": LEAVES,
    "follow": LEAVES,
    "hub": LEAVES,
    "reuse": LEAVES | {"paths", "store", "store_spec", "verify"},
    "sources": LEAVES | {"plan", "prefetch"},
    "headers": LEAVES,
    "decode": LEAVES | {"avif", "headers", "jpeg2000", "libspng", "modes", "strangers"},
    "avif": LEAVES,
    "jpeg2000": LEAVES,
    "libspng": LEAVES,
    "modes": LEAVES,
    "strangers": LEAVES,
    "paths": LEAVES | {"files"},
    "resampling": LEAVES,
    "preprocess": LEAVES | {"resampling"},
    "device_resize": LEAVES | {"preprocess", "resampling"},
    "shared_decode": LEAVES,
    "nvcodec": LEAVES | {"decode", "headers", "modes", "strangers"},
    "gpu": LEAVES | {"decode", "device_resize", "encoders", "nvcodec", "pixels", "resampling", "settings"},
    "tokens": LEAVES,
    "encoders": LEAVES | {"files"},
    "texts": LEAVES | {"tokens"},
    "tables": set(),
    "store_spec": LEAVES,
    "store": LEAVES | {"files", "paths", "store_spec", "tables"},
    "search": LEAVES | {"files", "prefetch", "stats"},
    "shard_rows": LEAVES | {"files", "paths", "search", "store", "store_spec"},
    "indexing": LEAVES | {"files", "locks", "search", "shard_rows", "store"},
    "streaming": LEAVES | {"indexing", "search", "shard_rows", "store"},
    "keyed": LEAVES | {"paths", "scoring", "search", "store", "verify"},
    "parts": LEAVES | {"files", "locks"},
    "moves": LEAVES | {"files", "locks", "sources"},
    "joins": LEAVES | {"keyed", "parts", "pipeline", "search"},
    "dedup": LEAVES | {"files", "joins", "keyed", "moves", "pipeline", "search"},
    "novelty": LEAVES | {"files", "keyed", "pipeline", "search"},
    "cli": LEAVES | {"cli_output", "supervise"},  # and by name, when it is used, the module of a command
    "cli_output": LEAVES | {"outputs"},
    "stats": LEAVES,
    "heads": LEAVES | {"metrics"},
    "metrics": LEAVES | {"search", "stats"},
    "perceptual": LEAVES | {"encoders"},
    "measures": LEAVES
    | {
        "perceptual",
        "accounts",
        "decode",
        "files",
        "heads",
        "metrics",
        "plan",
        "planning",
        "prefetch",
        "scoring",
        "sources",
    }
    | {"stats", "store", "store_spec", "summary", "verify"},
    "evaluation": LEAVES | {"decode", "headers", "metrics", "sources"},
    "options": LEAVES | {"encoders", "measures", "metrics", "settings"},
    "wanted": LEAVES | {"encoders", "heads", "measures", "options", "perceptual", "planning"},
    "producers": LEAVES | {"decode", "files", "hub", "locks", "prefetch"},
    "scoring": LEAVES | {"metrics", "prefetch", "stats", "store"},
    "summary": LEAVES | {"metrics", "stats", "scoring"},
    "outputs": LEAVES | {"files", "measures", "metrics", "scoring", "store"},
    "report": LEAVES | {"decode", "files", "metrics", "stats"},
    "study": LEAVES
    | {"decode", "files", "locks", "measures", "metrics", "outputs", "producers", "report", "scoring", "sources"}
    | {"stats", "store", "verify"},
    "provenance": LEAVES | {"__init__"},
    "gate": LEAVES | {"encoders", "metrics", "producers", "tokens"},
    "checked": LEAVES | {"__init__", "encoders", "files", "gate", "producers", "provenance"},
    "journal": LEAVES | {"files"},
    "supervise": LEAVES,
    "isolated": LEAVES | {"decode", "supervise"},
    "verify": LEAVES | {"files", "locks", "paths", "store_spec", "tables"},
    "planning": LEAVES | {"plan", "settings", "store"},
    "accounts": LEAVES | {"plan", "planning", "store"},
    "pixels": LEAVES
    | {"decode", "device_resize", "headers", "isolated", "journal", "preprocess", "settings"}
    | {"shared_decode", "supervise", "timing"},
    "pipeline": LEAVES
    | {"journal", "pixels", "plan", "planning", "prefetch", "reuse", "settings", "store", "tables", "texts", "timing"},
}
HEAVY = {  # library -> the only places, files or folders, that may import it
    "onnxruntime": {"encoders/int8.py", "encoders/ort.py", "encoders/ort_cuda.py", "search/kernels.py"},
    "transformers": {"producers/diffusion/"},
    "optimum": set(),
    "diffusers": {"producers/diffusion/"},
    "peft": {"producers/diffusion/"},
    "faiss": {"search/faiss_library.py"},
    "tensorrt": set(),
    "openvino": {"encoders/ov.py"},
    "starlette": {"study/annotate/server.py", "cli_annotate.py"},
    "uvicorn": {"study/annotate/server.py", "cli_annotate.py"},
    "sacrebleu": {"metrics/predictions.py"},
    "imagecodecs": {"libspng.py"},
}


def modules():
    return sorted(ENGINE.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "semscale")


def room_of(path):
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ENGINE)))
def test_rooms_import_only_what_they_may(path):
    room = room_of(path)
    if room not in ALLOWED:
        pytest.skip(f"{room} joins the others")
    used = {name.split(".")[1] for name in imports(path) if name.startswith("semscale.")} - {room}
    used |= {"__init__"} if "semscale" in imports(path) and room in {"checked", "provenance"} else set()
    assert used <= ALLOWED[room]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ENGINE)))
def test_heavy_libraries_are_imported_in_one_place(path):
    place = str(path.relative_to(ENGINE))
    for name in {name.split(".")[0] for name in imports(path)} & set(HEAVY):
        assert place.startswith(tuple(HEAVY[name])), f"{place} imports {name}"


def test_pairs_and_metrics_are_at_hand_without_loading_anything_heavy():
    assert heavy_after("import semscale.search, semscale.metrics, semscale.stats") == set()


def heavy_after(code):
    """Libraries that take long to import, of those that a fresh process has loaded after `code`."""
    heavy = {"torch", "onnxruntime", "faiss", "transformers", "pyarrow", "pandas", "matplotlib", "jinja2", "rich"}
    heavy |= {f"scipy.{part}" for part in ("special", "linalg", "sparse", "ndimage", "stats", "fft", "optimize")}
    code = f"{code}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return heavy & set(json.loads(done.stdout.splitlines()[-1]))


def test_only_the_joining_modules_know_of_export_and_bench_and_only_when_called():
    users = {str(p.relative_to(ENGINE)) for p in modules() if re.search(r"semscale_(export|bench)[.\" ]", code_of(p))}
    assert users <= {"cli_bench.py", "encoders/__init__.py", "run.py"}  # the table of back ends holds a name
    for path in modules():
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("semscale_" in ast.unparse(node) for node in top), path


def code_of(path):
    """The source without its docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return ast.unparse(tree).replace("'", '"')


def test_help_of_every_command_needs_no_heavy_import():
    code = (
        "from click.testing import CliRunner; from semscale.cli import COMMANDS, main;"
        "ours = [name for name in COMMANDS if name != 'bench'];"  # whose help is that of another package
        "assert not any(CliRunner().invoke(main, [name, '--help']).exit_code for name in ours)"
    )
    assert heavy_after(code) == set()


def test_a_run_on_the_processor_needs_no_torch():
    assert "torch" not in heavy_after("import semscale.run, semscale.arrays, semscale.console, semscale.encoders.ort")


def test_every_package_is_installed():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    declared = set(setup["options"]["packages"].split())
    present = {
        str(init.parent.relative_to(ROOT / top)).replace("/", ".")
        for top in ("engine", "export", "bench")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert declared == present
