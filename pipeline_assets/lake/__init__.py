"""Published data: immutable versions, manifests and pointers on any fsspec URI.

What is in a version, and whether it is good enough to publish, is the business of the other packages.
"""

from pipeline_assets.lake.dataset import Dataset, Lake
from pipeline_assets.lake.errors import LakeError
from pipeline_assets.lake.manifest import FileEntry, Manifest, data_version_of
from pipeline_assets.lake.staging import StagedVersion
from pipeline_assets.lake.version import FileProblem, Version

__all__ = [
    "Dataset",
    "FileEntry",
    "FileProblem",
    "Lake",
    "LakeError",
    "Manifest",
    "StagedVersion",
    "Version",
    "data_version_of",
]
