"""Damage to files."""

import os
from pathlib import Path


def damage_unseen(path: Path) -> None:
    """Change a byte such that the file looks as before to whoever does not read it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
