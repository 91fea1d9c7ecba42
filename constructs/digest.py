"""Digests of folders: by them a plan sees that a local chart or a script has changed."""

import hashlib
from pathlib import Path


def digest_of(folder: Path) -> str:
    """Return a short digest of the names and the content of a folder's files; the form of line ends does not count."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]
