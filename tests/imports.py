"""import-linter, with our `constructs` in sight instead of PyPI's package of the same name, which it would take."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


class _OurConstructs:
    """Finds `constructs` as what it is in this repository: a folder without an __init__.py."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004
        if name != "constructs":
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(ROOT / "constructs")]
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, _OurConstructs())
    sys.path.insert(0, str(ROOT))
    (command,) = entry_points(group="console_scripts", name="lint-imports")
    sys.argv = ["lint-imports", "--no-cache", "--no-logo", f"--config={ROOT / 'pyproject.toml'}"]
    command.load()()
