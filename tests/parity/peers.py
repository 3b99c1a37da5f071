"""Every peer's numbers: `cd tests && ../.venv-parity/bin/python -m parity.peers FILE`, which `make parity` does.

Runs in the environment of the peers, without semscale. Each peer has a module whose `values()` gives its numbers by the
names that `parity.ours` answers to. A peer that does not install, import or run is listed with its error.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import platform
import sys
import types
from pathlib import Path

from parity.cases import digests

PEERS = {
    "torchmetrics": "parity.peer_torchmetrics",
    "torch-fidelity": "parity.peer_torch_fidelity",
    "prdc": "parity.peer_prdc",
    "vendi-score": "parity.peer_vendi_score",
    "scikit-image": "parity.peer_scikit_image",
}
LIBRARIES = ("numpy", "scipy", "torch", "scikit-learn")  # what the peers compute with


def main() -> None:
    """Write the numbers as JSON to the file given."""
    import_torch_fidelity()
    found = {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "digests": digests(),
        "peers": {name: numbers(name, module) for name, module in PEERS.items()},
    }
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def numbers(name: str, module: str) -> dict:
    """Version, error and numbers of one peer; whatever ends it, the others go on."""
    try:
        found = {check: float(value) for check, value in importlib.import_module(module).values().items()}
    except Exception as error:
        return {"version": version(name), "error": f"{type(error).__name__}: {error}", "values": {}}
    return {"version": version(name), "error": None, "values": found}


def version(name: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def import_torch_fidelity() -> None:
    """Import it with an empty torchvision in place, which it takes for data sets and encoders that nobody calls here.

    The real one must match torch's build exactly, which would take the choice of torch out of our hands. torchmetrics
    imports torch-fidelity wherever it is installed, and looks for torchvision too: the empty one is gone by then.
    """
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    empty = {name: types.ModuleType(name) for name in names}
    for data_set in ("CIFAR10", "CIFAR100", "STL10"):  # classes are derived from these
        setattr(empty["torchvision.datasets"], data_set, type(data_set, (), {}))
    for name in names[1:]:
        parent, _, child = name.rpartition(".")
        setattr(empty[parent], child, empty[name])
    sys.modules.update(empty)
    with contextlib.suppress(ImportError):  # its error is listed later
        importlib.import_module("torch_fidelity.metrics")
    for name in names:
        del sys.modules[name]


if __name__ == "__main__":
    main()
