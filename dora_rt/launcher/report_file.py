"""The file of `--report`: written whole at the end; until then an older one stays."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


class ReportFile:
    """The file for the report of a run."""

    def __init__(self, path: Path) -> None:
        # The file that a link points to is replaced, and not the link; a pipe has no other name.
        is_ordinary = path.is_file() or not path.exists()
        self._path = path.resolve() if is_ordinary else path

    @classmethod
    def prepare(cls, path: Path) -> ReportFile:
        """Check, before the run, that the file can be written at its end; nothing is changed.

        Raises:
            OSError: it cannot be written.
        """
        file = cls(path)
        target = file._path
        if target.is_dir():
            raise _error(errno.EISDIR)
        place = target if target.exists() else target.parent
        if not place.exists():
            raise _error(errno.ENOENT)
        if not os.access(place, os.W_OK):
            is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
            raise _error(errno.EROFS if is_read_only else errno.EACCES)
        if not target.exists() and not place.is_dir():
            raise _error(errno.ENOTDIR)
        return file

    def write(self, text: str) -> None:
        """Write the report, in the place of an older one.

        Raises:
            OSError: it cannot be written; an older one is unchanged.
        """
        is_ordinary = self._path.is_file() or not self._path.exists()
        if not is_ordinary or not os.access(self._path.parent, os.W_OK):
            # A pipe or a terminal; or a file in a folder that we may not write to.
            self._path.write_text(text)
            return
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            part.write_text(text)
            part.replace(self._path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
