"""The house: what a newcomer relies on when reading it."""

import subprocess
import sys

from tests.support import ROOT

# Parts of a system, not systems: they are described on the page of the system that they serve.
PARTS = (
    "__init__.py",
    "aggregated_role.py",
    "clickhouse.py",
    "clickhouse_backups.py",
    "clickhouse_server.py",
    "collector.py",
    "credentials.py",
    "deployer.py",
    "signoz_preferences.py",
    "vault_server.py",
    "vault_snapshots.py",
    "viewer.py",
)
FILES = [path for path in (ROOT / "constructs").glob("l?_*/**/*.py") if path.name not in PARTS]
# A system in more than one file is a folder: the file that is called as it is has its construct.
SYSTEMS = sorted(path for path in FILES if path.parent.parent == ROOT / "constructs" or path.stem == path.parent.name)


def test_constructs_has_no_init_or_it_would_hide_the_library_of_that_name() -> None:
    assert not (ROOT / "constructs" / "__init__.py").exists()
    assert not (ROOT / "tests" / "constructs").exists()


def test_main_is_a_composition_root_of_at_most_50_lines() -> None:
    assert len((ROOT / "main.py").read_text(encoding="utf-8").splitlines()) <= 50


def test_imports_go_one_way() -> None:
    command = [sys.executable, str(ROOT / "tests" / "imports.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert found.returncode == 0, found.stdout
    assert "2 kept, 0 broken" in found.stdout


def test_only_the_bindings_that_are_used_are_loaded() -> None:
    code = "import main, sys; print(*[m for m in sys.modules if m.startswith('cdktf_cdktf_provider_kubernetes.')])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    used = {name.split(".")[1] for name in found.stdout.split()}
    assert "secret_v1" in used
    assert len(used) < 25, used


def test_no_construct_reads_files_or_the_environment_or_knows_an_environments_name() -> None:
    names = [path.stem for path in (ROOT / "envs").glob("*.tfvars") if path.stem != "infra"]
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert "os.environ" not in text, path
        assert "read_text" not in text, path
        assert "open(" not in text, path
        for name in names:
            assert f'"{name}"' not in text, f"{path}: {name}"


def test_every_system_has_a_page_and_all_pages_have_the_same_form() -> None:
    pages = {
        page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference" / "systems").glob("*.md")
    }
    assert sorted(pages) == sorted(path.stem for path in SYSTEMS)
    forms = {tuple(line for line in text.splitlines() if line.startswith("## ")) for text in pages.values()}
    assert len(forms) == 1, forms


def test_make_nodes_applies_the_record_of_the_nodes_and_nothing_else() -> None:
    command = ["make", "--dry-run", "nodes", "KUBECONFIG=/there", "TERRAFORM=terraform"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    (apply,) = [line for line in found.stdout.splitlines() if line.startswith("terraform") and " apply " in line]
    assert "-chdir=terraform/stacks/infra apply -target=terraform_data.k3s_nodes " in apply
    assert "-var=enable_infra=true" in apply
    assert "-var=kubeconfig=/there" in apply
    assert "terraform_data.k3s_nodes" in (ROOT / "tests" / "addresses.txt").read_text(encoding="utf-8").split()
