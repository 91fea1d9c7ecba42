"""Broken files are refused before anything is written, with a line for each thing to mend: where, what, what to do.

A case of tests/refused/<stack>/ stands in the place of envs/<stack>.tfvars of a sound project. Its first line says what
is broken, each `# expect:` line how a problem begins; there must be no other problem.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stacks import tfvars
from stacks.project import ProjectError, load
from tests.support import ROOT

CASES = sorted((ROOT / "tests" / "refused").glob("*/*.tfvars"))
EXPECT = "# expect: "
STAGING = (ROOT / "envs" / "staging.tfvars").read_bytes()
CDKTF: dict[str, Any] = json.loads((ROOT / "cdktf.json").read_text(encoding="utf-8"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "cdktf.json", tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    # A case of infra's has the default quotas, which have no room for PostHog.
    for path in (tmp_path / "envs").iterdir():
        path.write_text(path.read_text(encoding="utf-8").replace('"posthog", ', ""), encoding="utf-8")
    return tmp_path


def problems(root: Path) -> tuple[str, ...]:
    with pytest.raises(ProjectError) as refused:
        load(root)
    lines = str(refused.value).split("\n")
    assert lines == list(refused.value.problems)
    assert [line for line in lines if not re.fullmatch(r"(envs/[^:]+\.tfvars|cdktf\.json): .+[^:; ]", line)] == []
    return refused.value.problems


def expected(case: Path) -> list[str]:
    lines = case.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(EXPECT) for line in lines if line.startswith(EXPECT)]


def assert_begin(found: tuple[str, ...], beginnings: list[str]) -> None:
    assert len(found) == len(beginnings), found
    for line, beginning in zip(found, beginnings, strict=True):
        assert line.startswith(beginning)


def environment(name: str) -> str:
    return f'environment = "{name}"\nenv_prefix = "x-another"\nbase_domain = "example.com"\ncomponents = []\n'


def context(**changes: object) -> dict[str, Any]:
    return {**CDKTF, "context": {**CDKTF["context"], **changes}}


def test_the_project_that_the_cases_break_is_sound_and_may_have_another_environment(root: Path) -> None:
    (root / "envs" / "qa.tfvars").write_text(environment("qa"), encoding="utf-8")
    assert set(load(root).environments) == {path.stem for path in root.glob("envs/*.tfvars")} - {"infra"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_a_broken_file_is_refused_for_what_it_says_of_itself(case: Path, root: Path) -> None:
    first, second, *_ = case.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"# [A-Z].+\.", first)
    assert second.startswith(EXPECT)
    shutil.copy(case, root / "envs" / f"{case.parent.name}.tfvars")
    assert_begin(problems(root), expected(case))


def test_the_problems_of_all_files_are_reported_at_once(root: Path) -> None:
    cases = [
        ROOT / "tests" / "refused" / "infra" / "out-of-range.tfvars",
        ROOT / "tests" / "refused" / "staging" / "three-errors.tfvars",
        ROOT / "tests" / "refused" / "test" / "unterminated-string.tfvars",
    ]
    for case in cases:
        shutil.copy(case, root / "envs" / f"{case.parent.name}.tfvars")
    (root / "cdktf.json").write_text(json.dumps(context(backend={"type": "gcs"})), encoding="utf-8")
    backend = 'cdktf.json: context.backend: found {"type": "gcs"}; give one of the types "local", "kubernetes", "s3"'
    assert_begin(problems(root), [backend, *(line for case in cases for line in expected(case))])


MISSING = tuple(
    f"envs/staging.tfvars: {key}: missing; add it" for key in ("environment", "env_prefix", "base_domain", "components")
)


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n", b"# nothing", b"/* nothing\n */"])
def test_an_empty_file_is_told_what_is_missing(content: bytes, root: Path) -> None:
    (root / "envs" / "staging.tfvars").write_bytes(content)
    assert problems(root) == MISSING


@pytest.mark.parametrize(
    ("content", "line", "character"),
    [
        (b"\xef\xbb\xbf" + STAGING, 1, r"'\ufeff'"),
        (STAGING.decode().encode("utf-16"), 1, "'�'"),
        (b"a = 1\n# caf\xc3\xa9\n", 2, "'é'"),
        (b"a = 1\n# caf\xe9\n", 2, "'�'"),
        (b'a = "\xe2\x80\x9cb\xe2\x80\x9d"\n', 1, "'“'"),
        (b"a\xc2\xa0= 1\n", 1, r"'\xa0'"),
        (b"r\xd0\xb5dis = {}\n", 1, "'е'"),  # noqa: RUF001 (the Cyrillic letter is the point)
        (b"a = 1 # \xe2\x80\xa8b = 2\n", 1, r"'\u2028'"),
        (STAGING + b"\x00", STAGING.count(b"\n") + 1, r"'\x00'"),
        (b'a = "\x07"\n', 1, r"'\x07'"),
        (b"# \x1b[31m\n", 1, r"'\x1b'"),
        (b"# \x7f\n", 1, r"'\x7f'"),
        (b"a = 1\n\x0cb = 2\n", 2, r"'\x0c'"),
        (STAGING.replace(b"\n", b"\r"), 1, r"'\r'"),
        (b"a = 1 # b\rc = 2\n", 1, r"'\r'"),
        (b"a = 1\r", 1, r"'\r'"),
        (b"a = 1\n\r", 2, r"'\r'"),
    ],
    ids=ascii,
)
def test_a_character_that_is_not_printable_ascii_is_refused_wherever_it_is(
    content: bytes, line: int, character: str, root: Path
) -> None:
    (root / "envs" / "staging.tfvars").write_bytes(content)
    words = f"line {line}: found the character {character}; use printable ASCII only"
    assert problems(root) == (f"envs/staging.tfvars: {words}",)


def test_a_huge_file_is_refused_by_its_size_and_one_at_the_limit_is_read(root: Path) -> None:
    path = root / "envs" / "staging.tfvars"
    room = tfvars.MAX_BYTES - len(STAGING)
    path.write_bytes(STAGING + b"\n" * room)
    assert "staging" in load(root).environments
    path.write_bytes(STAGING + b"\n" * room + b"}")
    words = f"found {tfvars.MAX_BYTES + 1} bytes; a tfvars file has at most {tfvars.MAX_BYTES}: is this the right file?"
    assert problems(root) == (f"envs/staging.tfvars: {words}",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a = " + b"[" * 5_000 + b"]" * 5_000, "line 1: nested more than 10 levels deep; no setting is"),
        (b"a = " + b"{a=" * 4_000 + b"1" + b"}" * 4_000, "line 1: nested more than 10 levels deep; no setting is"),
        (b"a = " + b"(" * 5_000, 'line 1: not valid HCL; write settings as: name = "value"'),
        (b"a = " + b"9" * 5_000, "line 1: found a number of 5000 digits; give at most 15"),
        (b"a = /*" + b"*" * 19_000, 'line 1: not valid HCL; write settings as: name = "value"'),
    ],
    ids=lambda value: ascii(value[:12]),
)
def test_a_file_that_would_exhaust_a_reader_is_refused_in_words(content: bytes, words: str, root: Path) -> None:
    (root / "envs" / "staging.tfvars").write_bytes(content)
    assert problems(root) == (f"envs/staging.tfvars: {words}",)


LABEL = "give a name of lower-case letters, digits and dashes"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, f'environment: found "{name}"; {LABEL}') for name in ("Prod", "a_b", "a.b", "a b", "-a", "a-")),
        ("a" * 21, "the name has 21 characters; give the file a name of at most 20"),
        *(
            (name, "the name is taken by the platform; give the file another one")
            for name in ("all", "data", "default", "iac", "kube", "kube-public", "monitoring", "platform", "system")
        ),
        *(
            (name, "the name is taken by the platform; give the file another one")
            for name in ("administrator", "auth", "database", "database-shop", "root", "snapshots", "sys")
        ),
    ],
)
def test_a_file_whose_name_cannot_be_an_environment_is_refused(name: str, words: str, root: Path) -> None:
    (root / "envs" / f"{name}.tfvars").write_text(environment(name), encoding="utf-8")
    assert problems(root) == (f"envs/{name}.tfvars: {words}",)


def test_a_name_that_traefik_would_take_for_anothers_is_refused(root: Path) -> None:
    for name in ("staging-eu", "a--b"):
        text = environment(name).replace("x-another", f"x-{name}").replace("x-staging", "y-staging")
        (root / "envs" / f"{name}.tfvars").write_text(text, encoding="utf-8")
    remedy = "Traefik could take its Services for those of staging; give a name that does not begin with staging-"
    assert problems(root) == (
        "envs/a--b.tfvars: the name has two dashes in a row, which Traefik reads as one; give one",
    )
    (root / "envs" / "a--b.tfvars").unlink()
    assert problems(root) == (f"envs/staging-eu.tfvars: {remedy}",)


def test_an_environment_name_may_have_twenty_characters(root: Path) -> None:
    (root / "envs" / f"{'a' * 20}.tfvars").write_text(environment("a" * 20), encoding="utf-8")
    assert "a" * 20 in load(root).environments


def test_a_project_without_infra_is_refused(root: Path) -> None:
    (root / "envs" / "infra.tfvars").unlink()
    words = "the file is missing; every project has one, for L1 and L2"
    assert problems(root) == (f"envs/infra.tfvars: {words}",)


def test_what_is_called_like_a_file_and_is_none_is_refused(root: Path) -> None:
    (root / "envs" / "qa.tfvars").mkdir()
    (root / "envs" / "test.tfvars").unlink()
    (root / "envs" / "test.tfvars").symlink_to(root / "nowhere")
    assert problems(root) == (
        "envs/qa.tfvars: cannot be read: Is a directory; give a file or remove it",
        "envs/test.tfvars: cannot be read: No such file or directory; give a file or remove it",
    )


S3 = {"type": "s3", "bucket": "strata", "region": "eu-central-1"}


@pytest.mark.parametrize(
    ("content", "beginnings"),
    [
        ("", ["cannot be read: Expecting value: line 1 column 1 (char 0); mend it"]),
        ('{"output": ', ["cannot be read: Expecting value: line 1 column 12 (char 11); mend it"]),
        (
            b"\xff\xfe",
            ["cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte; mend it"],
        ),
        ("[" * 100_000, ["cannot be read: maximum recursion depth exceeded"]),
        (f'{{"output": {"9" * 5_000}}}', ["cannot be read: Exceeds the limit"]),
        ([], ["found [] (a list); give an object"]),
        (None, ["found null (nothing); give an object"]),
        ({}, ["output: missing; add it", "context: missing; add it"]),
        ({**CDKTF, "output": ".."}, ['output: found ".."; give "terraform"']),
        (context(backend="local"), ['context.backend: found "local" (a string); give an object']),
        (context(backend={}), ["context.backend: found {}; add its type"]),
        (
            context(backend={"type": "gcs"}),
            ['context.backend: found {"type": "gcs"}; give one of the types "local", "kubernetes", "s3"'],
        ),
        (context(backend={"type": "local", "path": "a"}), ["context.backend.local.path: unknown key; remove it"]),
        (
            context(backend={"type": "s3", "bucket": "a", "region": ""}),
            [
                'context.backend.s3.bucket: found "a"; give at least 3 characters',
                'context.backend.s3.region: found ""; give at least 1 characters',
            ],
        ),
        (context(backend={**S3, "bucket": 5}), ["context.backend.s3.bucket: found 5 (a number); give a string"]),
        (context(promotion="staging"), ['context.promotion: found "staging" (a string); give a list']),
        (
            context(promotion=["staging", "staging"]),
            ['context.promotion: found ["staging", "staging"]; give each environment once'],
        ),
        (
            context(promotion=["prod", "staging"]),
            ['context.promotion: found ["prod", "staging"]; the first is planned by itself: put another'],
        ),
        (context(promotion=["staging", 1]), ["context.promotion.1: found 1 (a number); give a string"]),
        (
            context(promotions=[]),
            ["context.promotions: unknown key; did you mean promotion? The keys here are backend"],
        ),
        (
            context(promotion=["staging", "qa", "infra"]),
            [
                "context.promotion: there is no envs/qa.tfvars; add the file or remove the name",
                "context.promotion: there is no envs/infra.tfvars; add the file or remove the name",
            ],
        ),
    ],
    ids=lambda value: ascii(value)[:50] if not isinstance(value, list) or not value else "",
)
def test_a_broken_cdktf_json_is_refused(content: object, beginnings: list[str], root: Path) -> None:
    written = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
    (root / "cdktf.json").write_bytes(written if isinstance(written, bytes) else written.encode())
    assert_begin(problems(root), [f"cdktf.json: {beginning}" for beginning in beginnings])


def test_a_missing_cdktf_json_is_refused(root: Path) -> None:
    (root / "cdktf.json").unlink()
    words = "cannot be read: No such file or directory; mend it or restore it from git"
    assert problems(root) == (f"cdktf.json: {words}",)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_refused_synthesis_says_why_exits_with_1_and_writes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "docs"))
    case = ROOT / "tests" / "refused" / "staging" / "three-errors.tfvars"
    shutil.copy(case, copy / "envs" / "staging.tfvars")
    before = contents(copy)
    command = [sys.executable, str(copy / "main.py")]
    quiet = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=tmp_path, env=quiet, capture_output=True, text=True, check=False)  # noqa: S603
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert_begin(tuple(ran.stderr.splitlines()), expected(case))
    assert contents(copy) == before
    assert any(name.startswith("terraform/stacks/") for name in before)
