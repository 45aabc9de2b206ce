"""From source files to `raw`: every row as written, every malformed line kept, on any engine.

What values must satisfy is the business of `contract`.
"""

from pipeline_assets.ingest.errors import IngestError
from pipeline_assets.ingest.run import IngestResult, ingest
from pipeline_assets.ingest.sources import SourceFile, discover

__all__ = ["IngestError", "IngestResult", "SourceFile", "discover", "ingest"]
