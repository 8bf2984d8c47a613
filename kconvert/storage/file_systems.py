"""File systems of fsspec: how each kind of store is opened, and what its library has to be set to.

Credentials and endpoints come from the environment only, as each store's own tools take them. Listings are never taken
from a cache, as other machines write there, too.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import warnings
import weakref
from contextlib import suppress
from typing import Any

from kconvert.errors import UsageError
from kconvert.installation import how_to_install

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""What is installed with kconvert for a kind of store."""
_LIBRARIES = {"s3": "s3fs", "gcs": "gcsfs"}
_LISTED = {*_EXTRAS, "abfs", "az"}
"""Whose listings fsspec would cache."""
COMMITTING = frozenset(_EXTRAS)
"""Where an object is not there before its upload is complete, and the library lets us say when."""


@functools.cache
def file_system(root: str, process_id: int, is_unsigned: bool = False) -> Any:
    """The file system that has a bucket, one for all threads of a process: none survives a fork. One that is unsigned
    asks without the credentials that the environment has, where it can.

    Raises: `UsageError` if its library is not installed.
    """
    protocol = root.partition("://")[0]
    extra = _EXTRAS.get(protocol)
    if extra == "gcs":
        _prepare_gcs()
    kind = _kind(root, protocol)
    options: dict[str, Any] = kind._get_kwargs_from_urls(root)
    if protocol in _LISTED:
        options["use_listings_cache"] = False
    if extra == "s3":
        # Parts of one size, as Cloudflare's R2 demands.
        options |= {"anon": is_unsigned or not _has_s3_credentials(), "fixed_upload_size": True}
    # fsspec keeps one for each thread.
    opened = kind(**options, skip_instance_cache=True)
    if extra == "gcs":
        # What runs at exit runs in the reverse order: before gcsfs's own way, which leaves a coroutine unawaited.
        weakref.finalize(opened, int)
        atexit.register(_close_session, opened)
    return opened


def _kind(root: str, protocol: str) -> Any:
    """fsspec's class for a kind of store."""
    # Most conversions know no store, and it takes a moment to import.
    import fsspec

    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        how = how_to_install(_LIBRARIES[extra], extra) if extra else f"install what fsspec names: {error}"
        raise UsageError(f"{root}: {protocol}:// needs a library that is not installed; {how}") from error
    except ValueError as error:
        known = ", ".join(f"{one}://" for one in ("s3", "gs", "az", "sftp"))
        raise UsageError(
            f"{root}: unknown kind of store {protocol}://, expected {known} or another of fsspec's"
        ) from error


def _prepare_gcs() -> None:
    # Else it asks by gRPC what kind of bucket it is, and waits a minute where only HTTP is spoken.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    # It says on stderr what troubles it, and raises it as well.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
    # gcsfs sends each part from memory, where it is, at once.
    warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)


def _close_session(opened: Any) -> None:
    """Closes the connections of a file system of gcsfs, if it has any."""
    if opened._session is not None and not opened._session.closed:
        import fsspec.asyn

        with suppress(fsspec.FSTimeoutError):
            fsspec.asyn.sync(opened.loop, opened._session.close, timeout=1)


def _has_s3_credentials() -> bool:
    """Without any, S3 is asked anonymously, as the official bucket allows."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None
