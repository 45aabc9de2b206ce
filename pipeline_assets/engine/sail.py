"""Sail: the embedded engine. Everything that only it needs to know."""

import os

from pipeline_assets.engine.errors import EngineError
from pipeline_assets.environments.types import EngineSettings
from pipeline_assets.lake.slots import limit_tasks


class SailServer:
    """Sail's Spark Connect server, on threads of this process."""

    def __init__(self, settings: EngineSettings) -> None:
        # Read once, when the native library starts. Task errors are logged by it and raised by
        # PySpark; one of the two is enough.
        os.environ.setdefault("RUST_LOG", "off")
        if settings.cores is not None:
            os.environ["SAIL_EXECUTION__DEFAULT_PARALLELISM"] = str(settings.cores)
        limit_tasks(settings.cores)
        try:
            from pysail.spark import SparkConnectServer
        except ImportError as error:
            raise EngineError(
                f"the embedded engine needs the package pysail ({error}); run `make setup` or "
                "`pip install pysail`"
            ) from error
        self._server = SparkConnectServer(ip="127.0.0.1", port=0)
        self._server.start(background=True)
        address = self._server.listening_address
        if address is None:
            raise EngineError("the embedded engine did not start; run again with RUST_LOG=info")
        self.url = f"sc://127.0.0.1:{address[1]}"

    @property
    def running(self) -> bool:
        """The server has not ended."""
        return self._server.running

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()
