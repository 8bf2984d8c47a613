"""Opening a path in a store, as a person names it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kconvert.errors import UsageError
from kconvert.storage.folders import local
from kconvert.storage.objects import is_object_url, object_path
from kconvert.storage.store import StorePath

_HALF_URL = re.compile(r"(https?|s3a?|gc?s|az|abfs|file):/?(?!/)(.*)", re.IGNORECASE)
_OTHER_MACHINE = re.compile(r"[\w.-]+@[\w.-]+:|[\w-]+(\.[\w-]+)+:/(?!/)")
"""As scp and rsync write it: user@host:/folder, or host.domain:/folder."""
_OTHER_PROTOCOLS = {"ftp", "ftps", "sftp", "ssh", "scp", "rsync", "smb", "nfs"}


def to_path(text: str) -> StorePath:
    """The absolute path, or the one in a store, that a person means. Raises `UsageError` for neither."""
    text = meant_location(text)
    if text.startswith(("http://", "https://")):
        raise UsageError(f"{text}: is no place for clips; expected a folder, or s3://… and the like")
    if not is_object_url(text):
        # Which leaves a user alone whom nobody knows.
        return local(Path(os.path.expanduser(text)).absolute())
    if not text.partition("://")[2].strip("/"):
        raise UsageError(f"{text}: expected the name of a bucket after {text.partition('://')[0]}://")
    if "@" in text.partition("://")[2].partition("/")[0] and text.startswith(("s3", "gs", "gcs")):
        raise UsageError(
            "credentials in a URL: expected them in the environment, as AWS_ACCESS_KEY_ID; take them out of the URL"
        )
    return object_path(text)


def meant_location(text: str) -> str:
    """A path or a URL, without `file://`. Raises `UsageError` for what looks like a URL and cannot be used as one."""
    if text.startswith("file://"):
        return text.removeprefix("file://").removeprefix("localhost")
    if found := _HALF_URL.match(text):
        meant = f"/{found[2]}" if found[1].lower() == "file" else f"{found[1]}://{found[2]}"
        raise UsageError(f"{text}: did you mean {meant}?")
    if text.partition("://")[0] in _OTHER_PROTOCOLS or _OTHER_MACHINE.match(text):
        raise UsageError(
            f"{text}: kconvert does not reach other machines that way; mount it and give the folder, or give a URL of "
            "http(s), s3 or gs"
        )
    return text
