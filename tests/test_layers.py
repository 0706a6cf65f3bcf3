"""The rules about who may know what, kept by reading the code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "srgan_jax").rglob("*.py"))
ALL = PACKAGE + sorted(path for room in ("configs", "benchmarks", "tests") for path in (ROOT / room).rglob("*.py"))

# Low to high. A file imports from its own level and from lower ones.
LEVELS = (
    ("__init__", "errors", "files", "memory"),
    ("ops",),
    ("models", "losses", "metrics"),
    ("provenance", "config", "fields", "data", "weights"),
    ("inference",),
    ("training",),
    ("library",),
    ("evaluation", "serving"),
    ("commands",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(LEVELS) for room in rooms}
# clu's two import TensorFlow themselves. Tests compare with torch; one file reads and one writes torch's own files.
HEAVY = ("tensorflow", "torch", "tensorboard", "clu.metric_writers", "clu.periodic_actions")
TORCH_IN = ("srgan_jax/weights/readers.py", "srgan_jax/weights/tensors.py", "tests/", "benchmarks/")
MESH_NAMES = {"Mesh", "NamedSharding", "PartitionSpec"}
FLAX_OUTSIDE_MODELS = {  # beyond naming a module's type in an annotation
    "training/state.py": {"flax.struct", "flax.training.train_state"},
    "training/checkpoint.py": {"flax.serialization"},
}


def imports(tree: ast.AST) -> list[tuple[str, str]]:
    """(dotted name, the name it has in the file) of every import, wherever it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(f"{module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
    return found


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room_faults(path: str, source: str) -> list[str]:
    """`path` is relative to srgan_jax/."""
    own = path.split("/")[0].removesuffix(".py")
    if own not in HEIGHT:
        return [f"{path}: {own} has no place in LEVELS"]
    height = HEIGHT["library" if path == "__init__.py" else own]  # it hands on what library.py has
    faults = []
    for name, _ in imports(ast.parse(source)):
        if name.startswith("."):
            faults.append(f"{path} imports {name}: write the whole name")
        if not under(name, "srgan_jax"):
            continue
        rest = name.split(".")[1:2]
        room = rest[0] if rest and not rest[0].startswith("__version") else "__init__"
        if HEIGHT.get(room, len(LEVELS)) > height:
            faults.append(f"{path} imports {name}, which is above it")
    return faults


def mesh_faults(path: str, source: str) -> list[str]:
    if path == "training/parallel.py":
        return []
    tree = ast.parse(source)
    names = [(name.split(".")[-1], name) for name, _ in imports(tree)]
    names += [(node.attr, node.attr) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    faults = [f"{path} names {name}" for last, name in names if last in MESH_NAMES]
    faults += [f"{path} imports {name}" for name, _ in imports(tree) if under(name, "jax.sharding")]
    return faults


def flax_faults(path: str, source: str) -> list[str]:
    """Outside models/, flax.linen is there for annotations alone."""
    if path.startswith("models/"):
        return []
    tree = ast.parse(source)
    annotations = []
    for node in ast.walk(tree):
        for part in ("annotation", "returns"):
            annotation = getattr(node, part, None)
            annotations += list(ast.walk(annotation)) if isinstance(annotation, ast.AST) else []
    allowed = FLAX_OUTSIDE_MODELS.get(path, set())
    faults = []
    for name, alias in imports(tree):
        if not under(name, "flax") or name in allowed:
            continue
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == alias]
        if name != "flax.linen" or any(use not in annotations for use in uses):
            faults.append(f"{path} uses {name}")
    return faults


def heavy_faults(path: str, source: str) -> list[str]:
    heavies = [heavy for heavy in HEAVY if heavy != "torch" or not path.startswith(TORCH_IN)]
    names = [name for name, _ in imports(ast.parse(source))]
    return [f"{path} imports {name}" for name in names if any(under(name, heavy) for heavy in heavies)]


def torch_at_the_top(path: str, source: str) -> list[str]:
    """In the package torch is imported where a file of its own needs it, and nowhere else."""
    top = ast.Module([node for node in ast.parse(source).body if not isinstance(node, ast.FunctionDef)], [])
    return [f"{path} imports {name}" for name, _ in imports(top) if under(name, "torch")]


@pytest.mark.parametrize("rule", [room_faults, mesh_faults, flax_faults])
def test_the_package_keeps(rule):
    assert len(PACKAGE) > 20
    sources = {path.relative_to(ROOT / "srgan_jax").as_posix(): path.read_text() for path in PACKAGE}
    assert [fault for path, source in sources.items() for fault in rule(path, source)] == []


def test_nothing_imports_tensorflow_or_torch():
    sources = {path.relative_to(ROOT).as_posix(): path.read_text() for path in ALL}
    assert [fault for path, source in sources.items() for fault in heavy_faults(path, source)] == []
    assert [fault for path in TORCH_IN[:2] for fault in torch_at_the_top(path, sources[path])] == []


def test_files_stay_short():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in ALL}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (room_faults, "ops/color.py", "from srgan_jax.data.images import read_image"),
        (room_faults, "ops/color.py", "from srgan_jax import config as configs"),
        (room_faults, "losses.py", "import srgan_jax.training.steps"),
        (room_faults, "data/feed.py", "def f():\n    from srgan_jax.training import state"),
        (room_faults, "training/loop.py", "from srgan_jax.no_such_room import x"),
        (room_faults, "data/feed.py", "from ..training import state"),
        (room_faults, "utils.py", "import os"),
        (mesh_faults, "training/loop.py", "from jax.sharding import Mesh"),
        (mesh_faults, "training/loop.py", "import jax\nx = jax.sharding.PartitionSpec()"),
        (mesh_faults, "training/loop.py", "from jax import sharding"),
        (flax_faults, "data/feed.py", "from flax import struct"),
        (flax_faults, "training/loop.py", "import flax.linen as nn\nx = nn.Dense(1)"),
        (flax_faults, "training/loop.py", "import flax\ndef f(x: flax.linen.Module): ..."),
        (heavy_faults, "any.py", "import tensorflow as tf"),
        (heavy_faults, "any.py", "def f():\n    from torch.nn import Module"),
        (heavy_faults, "tests/any.py", "import tensorflow"),
        (torch_at_the_top, "srgan_jax/weights/tensors.py", "import torch"),
        (heavy_faults, "any.py", "from clu import metric_writers"),
    ],
)
def test_a_fault_is_seen(rule, path, source):
    assert rule(path, source)


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (room_faults, "provenance.py", "from srgan_jax import __version__"),
        (room_faults, "models/build.py", "from srgan_jax.errors import UserError\nfrom srgan_jax.ops import bicubic"),
        (room_faults, "data/feed.py", "from srgan_jax import config\nfrom srgan_jax.data.sources import Source"),
        (mesh_faults, "training/checkpoint.py", "import jax\nx = jax.sharding.SingleDeviceSharding"),
        (flax_faults, "training/loop.py", "import flax.linen as nn\ndef f(x: nn.Module) -> nn.Module: ..."),
        (heavy_faults, "any.py", "import tensorflow_datasets as tfds"),
        (heavy_faults, "tests/any.py", "import torch"),
        (torch_at_the_top, "srgan_jax/weights/tensors.py", "def f():\n    import torch"),
    ],
)
def test_what_is_allowed_is_no_fault(rule, path, source):
    assert rule(path, source) == []
