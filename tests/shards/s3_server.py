"""A real S3 server (moto) in a thread, on this machine only, that notes requests and fails on demand."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from s3fs import S3FileSystem
from werkzeug.serving import make_server


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    """/bucket/key"""
    range: str
    """Header, such as bytes=0-999; empty for a whole object."""


@dataclass
class S3Server:
    """A server; `url` is its address."""

    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], int | None] = lambda request: None
    """Called before a GET is answered; the number of an HTTP error that it returns is the answer."""

    def __post_init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def upload(self, folder: Path, bucket: str) -> str:
        """Put the files of a folder into a new bucket; return its URI."""
        client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")
        client.create_bucket(Bucket=bucket)
        for path in folder.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())
        return f"s3://{bucket}"

    def downloads(self) -> list[Request]:
        """GET requests for shards so far."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(".safetensors")]

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")
        )
        self.requests.append(request)
        status = self.before(request) if request.method == "GET" else None
        if status is None:
            return self._application(environ, start)
        code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}[status]
        start(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>on demand</Message></Error>".encode()]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that the environment points to, as it would to a real one."""
    server = S3Server()
    # fsspec keeps file systems by their arguments, whatever the environment was.
    S3FileSystem.clear_instance_cache()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        yield server
    S3FileSystem.clear_instance_cache()
    server.stop()
