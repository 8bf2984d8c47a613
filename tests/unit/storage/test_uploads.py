"""Uploads to a real S3 server."""

import hashlib
import random

import pytest
from buckets import store

from kconvert.storage.objects import object_path

pytestmark = pytest.mark.server
PART_BYTES = 32 << 20


def test_writing_an_object_gives_up_no_upload_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with store() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        bucket = f"begun-{found.url.rpartition(':')[2]}"
        found.make_bucket(bucket)
        for key in ("k400/shard.tar", "k400/shard.tar.idx"):
            found.client().create_multipart_upload(Bucket=bucket, Key=key)
        with object_path(f"s3://{bucket}/k400/shard.tar").write_whole() as file:
            file.write(b"x")
        assert found.uploads(bucket) == ["k400/shard.tar.idx"]


@pytest.mark.parametrize("piece_bytes", [(10 << 20) - 3, 50 << 20])
def test_the_parts_of_an_upload_have_one_size(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    """Whatever is written at a time. Cloudflare's R2 refuses others; the tag of an object is made of those of its parts
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html)."""
    data = random.Random(1).randbytes((70 << 20) + 5)
    with store() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        bucket = f"parts-{found.url.rpartition(':')[2]}"
        found.make_bucket(bucket)
        path = object_path(f"s3://{bucket}/k400/shard.tar")
        with path.write_whole() as file:
            for start in range(0, len(data), piece_bytes):
                file.write(data[start : start + piece_bytes])
        assert path.sha256() == hashlib.sha256(data).hexdigest()
        digests = [hashlib.md5(data[start : start + PART_BYTES]).digest() for start in range(0, len(data), PART_BYTES)]
        expected = f'"{hashlib.md5(b"".join(digests)).hexdigest()}-{len(digests)}"'
        assert path.info().version.split()[0] == expected
