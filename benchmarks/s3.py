"""An S3 server of this machine, for what is measured and tested with results in S3."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from raytuner.folders import RemoteFolder


@contextmanager
def bucket() -> Iterator[RemoteFolder]:
    """An empty bucket. Key and endpoint stand in its URI, so that Ray's processes have them too."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": "us-east-1"}
    client = S3FileSystem(
        access_key="someone", secret_key="hidden", allow_bucket_creation=True, **place
    )
    client.create_dir("bucket")
    try:
        yield RemoteFolder(f"s3://someone:hidden@bucket?{urlencode(place)}")
    finally:
        server.stop()
