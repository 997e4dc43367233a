"""Find a model's file: by its path, or by a name from the table, downloaded once and checked."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ModelError
from .other_formats import other_format

SCENE_MODEL_PATH = Path(__file__).parent / "scene_model.onnx"
"""The embedded model, which knows the objects of the webcam node's synthetic scene."""

SILENCE_S = 15.0
"""How long a server may send nothing before a download is given up."""

DOWNLOAD_S = 600.0
"""How long a whole download may take."""

_CHUNK_NBYTES = 1 << 16

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model that can be had by name; nothing but the bytes with this sha256 is ever used."""

    name: str
    url: str
    sha256: str
    nbytes: int
    licence: str


YOLOX_NANO = PublishedModel(
    name="yolox_nano",
    url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
    sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    nbytes=3_659_407,
    licence="Apache-2.0",
)

MODELS: Mapping[str, PublishedModel] = {YOLOX_NANO.name: YOLOX_NANO}

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there are."""


def find_model(model: str, cache_dir: Path) -> Path:
    """Return the file of a model, downloading it if it is one of the table and not in the cache.

    Args:
        model: a name of `MODELS`, or a path.
        cache_dir: where downloaded models are kept; made if needed.

    Raises:
        ModelError: there is no such file or name, or the download failed.
    """
    published = MODELS.get(model)
    if published is not None:
        return fetch(published, cache_dir, progress_lines(f"{published.name}.onnx"))
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        what = other_format(path) or "a folder; give the path of an ONNX file"
        raise ModelError(f"{path.absolute()} is {what}")
    raise ModelError(
        f"there is no model file {path.absolute()}; give the path of an ONNX file, or one of the"
        f" names {', '.join(MODELS)}"
    )


def fetch(
    model: PublishedModel,
    cache_dir: Path,
    progress: Progress,
    *,
    silence_s: float = SILENCE_S,
    download_s: float = DOWNLOAD_S,
) -> Path:
    """Return the cached file of a model; download it first if it is missing or wrong.

    Raises:
        ModelError: it could not be downloaded whole and unchanged; nothing is left behind.
    """
    path = cache_dir / f"{model.name}.onnx"
    try:
        if path.is_file() and _is_same(path, model):
            return path
        cache_dir.mkdir(parents=True, exist_ok=True)
        # In the same directory: a rename is atomic only within one file system, and two nodes that
        # start together may both download, but neither ever sees half a file.
        with tempfile.NamedTemporaryFile(
            dir=cache_dir, prefix=f".{path.name}.", delete=False
        ) as part:
            part_path = Path(part.name)
            try:
                for chunk in _checked(model, _receive(model.url, silence_s, download_s), progress):
                    part.write(chunk)
                part.flush()
                os.fsync(part.fileno())
                part_path.replace(path)
            finally:
                part_path.unlink(missing_ok=True)
    except _DownloadError as error:
        raise ModelError(f"{model.name}: {error}. {_way_out(model, path)}") from error
    except OSError as error:
        raise ModelError(
            f"{model.name}: cannot write to {cache_dir}: {error.strerror}. {_way_out(model, path)}"
        ) from error
    return path


def progress_lines(file_name: str) -> Progress:
    """Log a bar as a line of its own at each tenth: the output of a node goes through a pipe."""
    last_tenth = -1

    def progress(here_nbytes: int, all_nbytes: int) -> None:
        nonlocal last_tenth
        tenth = 10 * here_nbytes // all_nbytes
        if tenth > last_tenth:
            last_tenth = tenth
            bar = "#" * tenth + "-" * (10 - tenth)
            _logger.info(
                "downloading %s [%s] %3d %% of %.1f MiB",
                file_name,
                bar,
                10 * tenth,
                all_nbytes / 2**20,
            )

    return progress


class _DownloadError(Exception):
    pass


def _way_out(model: PublishedModel, path: Path) -> str:
    return (
        f"Download {model.url} by other means and put it at {path}, or give the path of another"
        " ONNX file (--model, or MODEL in the node's env)"
    )


def _is_same(path: Path, model: PublishedModel) -> bool:
    is_same = (
        path.stat().st_size == model.nbytes
        and hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256
    )
    if not is_same:
        _logger.warning("%s is not the file that was published as %s", path, model.name)
    return is_same


def _receive(url: str, silence_s: float, download_s: float) -> Iterator[bytes]:
    """Return the body of a URL in chunks; errors of the network are a _DownloadError."""
    # Imported late: it brings in http and ssl, and most starts find the model in the cache.
    import http.client
    import urllib.error
    import urllib.request

    deadline = time.monotonic() + download_s
    try:
        with urllib.request.urlopen(url, timeout=silence_s) as response:
            # read1 returns the bytes there are: a server that trickles meets the deadline, too.
            while chunk := response.read1(_CHUNK_NBYTES):
                yield chunk
                if time.monotonic() > deadline:
                    raise _DownloadError(f"{url} was not here after {download_s:.0f} s")
    except urllib.error.HTTPError as error:
        # It is the response as well, and keeps the connection until it is closed.
        error.close()
        raise _DownloadError(f"{url} answered {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise _DownloadError(f"{url} sent nothing for {silence_s:.0f} s") from error
    except urllib.error.URLError as error:
        raise _DownloadError(f"{url} cannot be reached: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _DownloadError(f"{url} broke off: {error!r}") from error


def _checked(model: PublishedModel, chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    """Pass the chunks on, and end with a _DownloadError unless they were exactly the model."""
    digest = hashlib.sha256()
    here_nbytes = 0
    for chunk in chunks:
        here_nbytes += len(chunk)
        if here_nbytes > model.nbytes:
            raise _DownloadError(f"{model.url} sent more than the {model.nbytes} bytes expected")
        digest.update(chunk)
        progress(here_nbytes, model.nbytes)
        yield chunk
    if here_nbytes < model.nbytes:
        raise _DownloadError(
            f"{model.url} ended after {here_nbytes} of the {model.nbytes} bytes expected"
        )
    if digest.hexdigest() != model.sha256:
        raise _DownloadError(
            f"{model.url} sent other bytes than were published: sha256 {digest.hexdigest()},"
            f" expected {model.sha256}"
        )
