"""What goes wrong in a store, as an `OSError` that names the object, whatever its library raises."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kconvert.errors import STORE_ERRNO, UsageError

_OF_THIS_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC}
"""Numbers of errors that are not the store's, nor the network's."""


@contextmanager
def store_errors(name: str, is_anonymous: Callable[[], bool]) -> Iterator[None]:
    """Has whatever the block raises be an `OSError` that names the object; `is_anonymous` says whether the store is
    asked without credentials. `UsageError` goes through."""
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object or bucket", name) from error
    except FileExistsError as error:
        raise FileExistsError(errno.EEXIST, "is there already", name) from error
    except PermissionError as error:
        alone = ", asked without credentials as the environment has none" if is_anonymous() else ""
        raise PermissionError(errno.EACCES, (_said(error) or "access denied") + alone, name) from error
    except OSError as error:
        if _is_bad_request(error):
            # An answer to HEAD cannot say more.
            raise PermissionError(errno.EACCES, f"{_said(error)}; have the credentials expired?", name) from error
        number = error.errno if error.errno in _OF_THIS_MACHINE else STORE_ERRNO
        raise OSError(number, _said(error), name) from error
    except Exception as error:
        raise OSError(STORE_ERRNO, f"{_said(error)} ({type(error).__name__})", name) from error


def _is_bad_request(error: OSError) -> bool:
    """Whether S3 found nothing to say but 400 or 401, as of credentials that have expired."""
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, dict) and response.get("Error", {}).get("Code") in ("400", "401")


def _said(error: BaseException) -> str:
    """What an error says, without the endpoint, which is nobody's business but the environment's."""
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return re.sub(r"https?://[^\s\"']+", "the endpoint", text)
