"""Which files a source consists of. How they are read is planned in `plan`."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.text_stream import BLOCK_BYTES, open_source
from pipeline_assets.spec import Source
from pipeline_assets.spec.credentials import without_credentials

UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".inprogress")
"""Ends of names that programs give to files while they write them."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source, as it was found."""

    uri: str
    """Full URI, or path for local files."""
    name: str
    """Path below the source's folder: what `_source_file` says, so that a copy of the source
    elsewhere gives the same rows."""
    bytes: int
    """Size."""
    modified: str
    """Time of the last change, ISO 8601 UTC; empty where the storage does not tell."""
    sha256: str = ""
    """SHA-256 of the content, 64 hex digits; empty before the file was read."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, to be kept: without the credentials of the URI."""
        return {**asdict(self), "uri": without_credentials(self.uri)}


def discover(source: Source, *, hashes: bool = True) -> list[SourceFile]:
    """List the files of a source, sorted by name.

    Args:
        source: its `uri` is a file, a folder (taken with its subfolders) or a glob. Names that begin
            with `_` or `.`, or end like those of unfinished files, are skipped.
        hashes: read every file, here and now, for its SHA-256. `ingest` does without: its tasks hash
            what they read.

    Raises:
        IngestError: nothing is there, or it may not be read.
    """
    try:
        fs, path = url_to_fs(source.uri)
        root, paths = _list(fs, path)
        files = [_describe(fs, root, path) for path in sorted(paths)]
    except PermissionError as error:
        raise IngestError(f"source {source.uri}: may not be read ({error})") from error
    except (ImportError, ValueError) as error:
        raise IngestError(f"source {source.uri}: {error}") from error
    if not files:
        raise IngestError(
            f"source {source.uri}: the folder or glob holds no files "
            "(names that begin with _ or ., or end in .tmp or .part, are skipped); put files there or "
            "change source.uri"
        )
    if hashes:
        with ThreadPoolExecutor(8) as pool:
            digests = pool.map(lambda file: sha256_of(file.uri), files)
            files = [replace(file, sha256=digest) for file, digest in zip(files, digests)]
    return files


def listing_hash(files: Iterable[SourceFile]) -> str:
    """Sixteen hex digits that change when a file comes, goes, or changes its size or time."""
    lines = sorted(f"{file.name}\0{file.bytes}\0{file.modified}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def sha256_of(uri: str) -> str:
    """SHA-256 of a file, 64 hex digits. Raises `IngestError` where it cannot be read."""
    digest = hashlib.sha256()
    with open_source(uri) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def refuse_changes(before: Iterable[SourceFile], after: Iterable[SourceFile]) -> None:
    """Compare two listings of one source.

    Raises:
        IngestError: naming the files that came, went or changed in between.
    """
    old, new = ({file.uri: file for file in files} for files in (before, after))
    changes = [f"{uri} is new" for uri in new if uri not in old]
    for uri, file in old.items():
        now = new.get(uri)
        if now is None:
            changes.append(f"{uri} is gone")
        elif now.bytes != file.bytes:
            changes.append(f"{uri} had {file.bytes:,} bytes and has {now.bytes:,} now")
        elif now.modified != file.modified:
            changes.append(f"{uri} was changed at {now.modified}")
        elif file.sha256 and now.sha256 and now.sha256 != file.sha256:
            changes.append(f"{uri} has other content")
    if changes:
        shown = "; ".join(sorted(changes)[:5]) + ("; …" if len(changes) > 5 else "")
        raise IngestError(
            f"the source changed while it was being read: {shown}. "
            "Nothing was published; run again when the source is at rest"
        )


def is_left_out(relative: str) -> bool:
    """Whether a path below a source's folder is hidden (`_`, `.`) or named as unfinished (`.tmp`, `.part`)."""
    return relative.endswith(UNFINISHED) or any(
        part.startswith(("_", ".")) for part in relative.split("/")
    )


def _list(fs: AbstractFileSystem, path: str) -> tuple[str, list[str]]:
    """The folder that names are relative to, and the paths of all files."""
    if any(character in path for character in "*?[") and not fs.exists(path):
        fixed = path[: min(path.find(c) for c in "*?[" if c in path)]
        root = fixed.rpartition("/")[0]
        found = [p for p in fs.glob(path) if not fs.isdir(p)]
    elif fs.isdir(path):
        root = path.rstrip("/")
        found = list(fs.find(path))
    elif fs.exists(path):
        return path.rpartition("/")[0], [path]
    else:
        raise IngestError(
            f"source {fs.unstrip_protocol(path)}: nothing is there; "
            "check source.uri, or declare source.demo to generate landing files"
        )
    return root, [str(p) for p in found if not is_left_out(_relative(root, str(p)))]


def _describe(fs: AbstractFileSystem, root: str, path: str) -> SourceFile:
    info = fs.info(path)
    try:
        modified = fs.modified(path)
    except NotImplementedError:
        modified = None
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    uri = path if local else fs.unstrip_protocol(path)
    return SourceFile(
        uri=uri,
        name=_relative(root, path),
        bytes=_count_bytes(uri) if info["size"] is None else int(info["size"]),
        modified="" if modified is None else modified.astimezone(UTC).isoformat(),
    )


def _count_bytes(uri: str) -> int:
    """Size of a file whose storage (some web servers) does not tell it."""
    with open_source(uri) as file:
        while file.read(BLOCK_BYTES):
            pass
        return file.size


def _relative(root: str, path: str) -> str:
    return path[len(root) :].lstrip("/") if path.startswith(root) else path
