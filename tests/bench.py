"""The benchmark: a synthesis, beside the same with eager imports, an empty cdktf app, and a `make synth` of nothing."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import ROOT, copy_sources

RUNS = 7
EMPTY = "import stacks; from cdktf import App; App(outdir='empty').synth()"


def measured(command: list[str], cwd: Path, **environment: str) -> tuple[float, int]:
    """Run a command; return its seconds, and the peak memory in MiB of the largest process in it."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")
    divisor = 1024 * 1024 if sys.platform == "darwin" else 1024
    return time.perf_counter() - begin, usage.ru_maxrss // divisor


def main() -> None:
    """Print a table: medians of alternating runs."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch)
        copy_sources(clone)
        subjects: dict[str, tuple[list[str], Path, dict[str, str]]] = {
            "empty cdktf app": ([sys.executable, "-c", EMPTY], clone, {}),
            "python main.py": ([sys.executable, "main.py"], clone, {}),
            "  with eager imports": ([sys.executable, "main.py"], clone, {"STRATA_EAGER_BINDINGS": "1"}),
            "make synth, unchanged": (["make", "synth"], ROOT, {}),
        }
        for command, cwd, environment in subjects.values():
            measured(command, cwd, **environment)
        runs: dict[str, list[tuple[float, int]]] = {name: [] for name in subjects}
        for _ in range(RUNS):
            for name, (command, cwd, environment) in subjects.items():
                runs[name].append(measured(command, cwd, **environment))
    empty = statistics.median(seconds for seconds, _ in runs["empty cdktf app"])
    sys.stdout.write(f"medians of {RUNS} runs           seconds   of empty   peak MiB\n")
    for name, results in runs.items():
        seconds = statistics.median(seconds for seconds, _ in results)
        memory = max(memory for _, memory in results)
        sys.stdout.write(f"{name:<26} {seconds:9.2f} {seconds / empty:9.1f}x {memory:10}\n")


if __name__ == "__main__":
    main()
