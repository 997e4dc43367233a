"""Write samples into an MCAP file that is readable up to the last second, whatever happens."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from dora_rt import __version__
from dora_rt.event import Event

from ..recorded import (
    ENCODING,
    LOSSES_NAME,
    METADATA_NAME,
    SCHEMA,
    SCHEMA_NAME,
    RecordingError,
    encode,
    import_extra,
)

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
"""How much of its end a recording may lose when its process is killed, in seconds."""

_CHUNK_NBYTES = 4 * 1024 * 1024
_LARGEST_SEQUENCE = 2**32 - 1


class PictureForm(Enum):
    """How Foxglove gets pictures."""

    JPEG = "jpeg"
    RAW = "raw"
    NONE = "none"


class Compression(Enum):
    """Of the chunks of the file; pictures of a camera gain little by it, and cost much."""

    LZ4 = "lz4"
    ZSTD = "zstd"
    NONE = "none"


@dataclass(slots=True)
class _Channel:
    """Where the samples of an output go, and what Foxglove gets of them, if anything.

    `looks` is at how many more samples it is looked for what Foxglove could get of them: the first
    may be odd.
    """

    number: int
    shown_number: int | None = None
    show: Callable[[Event, int], bytes | None] | None = None
    looks: int = 20


class Recorder:
    """An MCAP file that is being written; a context manager that ends it well.

    Attributes:
        path: the file.
        lost: by output, how many samples were missed.
        profile: of the file, by which other programs know what is in it.
    """

    profile = ""

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        writer: Any,
        pictures: PictureForm,
        about: Mapping[str, str],
    ) -> None:
        self.path = path
        self.lost: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()
        self._odd: Counter[str] = Counter()
        self._file = file
        self._writer = writer
        self._pictures = pictures
        self._channels: dict[str, _Channel] = {}
        # Other programs show wall time; the samples keep the clock that they came with.
        self._wall_ns = time.time_ns() - time.monotonic_ns()
        self._flush_at_ns = 0
        self._is_dirty = True
        writer.start(profile=self.profile, library=f"dora_rt {__version__}")
        began = {"began": time.strftime("%Y-%m-%d %H:%M:%S %z"), "version": __version__}
        writer.add_metadata(METADATA_NAME, {**began, **about})
        self._schema = writer.register_schema(SCHEMA_NAME, ENCODING, SCHEMA.encode())

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        pictures: PictureForm = PictureForm.JPEG,
        compression: Compression = Compression.NONE,
        overwrites: bool = False,
        about: Mapping[str, str] | None = None,
    ) -> Recorder:
        """Begin a file.

        Args:
            path: the file; folders above it are made.
            pictures: how Foxglove gets pictures.
            compression: of the chunks.
            overwrites: whether a file that exists is replaced.
            about: the metadata of the file.

        Raises:
            RecordingError: the file exists, or cannot be written.
            ExtraMissingError: the extra `record` is not installed.
        """
        check_path(path, overwrites=overwrites)
        mcap_writer = import_extra(_import_writer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("wb" if overwrites else "xb")
        except OSError as error:
            raise RecordingError(f"{path} cannot be written: {error.strerror}") from error
        kind = mcap_writer.CompressionType[compression.name]
        writer = mcap_writer.Writer(file, chunk_size=_CHUNK_NBYTES, compression=kind)
        try:
            recorder = cls(path.absolute(), file, writer, pictures, about or {})
            recorder.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                file.close()
            raise
        return recorder

    def add(self, source: str, event: Event, *, least_ns: int | None = None) -> None:
        """Record a sample of an output; its count of dropped ones counts as lost.

        Args:
            source: the output.
            event: the sample.
            least_ns: what was sent before is recorded as of this moment of `time.monotonic_ns()`.

        Raises:
            RecordingError: the file cannot be written.
        """
        sent_ns = event.sent_ns if least_ns is None else max(event.sent_ns, least_ns)
        time_ns = sent_ns + self._wall_ns
        sequence = event.seq & _LARGEST_SEQUENCE
        try:
            for number, message in self._messages(source, event):
                self._writer.add_message(number, time_ns, message, time_ns, sequence)
        except OSError as error:
            raise self._broken(error) from error
        self._samples[source] += 1
        self.lost[source] += event.dropped
        self._is_dirty = True
        self.flush_if_due()

    def count_lost(self, source: str, count: int) -> None:
        """Set how many samples were missed, for callers that know of more than the samples show."""
        self.lost[source] = count

    def flush_if_due(self) -> None:
        """Do what `flush` does, if that was done long enough ago.

        Raises:
            RecordingError: the file cannot be written.
        """
        if time.monotonic_ns() >= self._flush_at_ns:
            self.flush()

    def flush(self) -> None:
        """Write what there is so far, so that it survives this process.

        Raises:
            RecordingError: the file cannot be written.
        """
        self._flush_at_ns = time.monotonic_ns() + int(FLUSH_S * 1e9)
        if not self._is_dirty:
            return
        self._is_dirty = False
        try:
            self._writer.flush()
        except OSError as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """End the file with its index; may be called twice.

        Raises:
            RecordingError: the file cannot be written.
        """
        if self._file.closed:
            return
        try:
            losses = {source: str(self.lost[source]) for source in self._samples}
            self._writer.add_metadata(LOSSES_NAME, losses)
            self._writer.finish()
            self._file.close()
        except OSError as error:
            raise self._broken(error) from error

    def summary(self) -> str:
        """Return what was recorded and what was lost, in words."""
        lines = [f"{self.path}: {self.path.stat().st_size / 2**20:.1f} MiB"]
        for source, count in self._samples.items():
            lost = self.lost[source]
            odd = f", {self._odd[source]} not shown in Foxglove" if self._odd[source] else ""
            lines.append(f"  {source}: {count} samples, {lost or 'none'} lost{odd}")
        if len(lines) == 1:
            lines.append("  no sample came")
        return "\n".join(lines)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, RecordingError):
            # Reported already; earlier samples stay readable.
            with contextlib.suppress(OSError):
                self._file.close()
            return
        self.close()

    def _messages(self, source: str, event: Event) -> Iterator[tuple[int, bytes]]:
        """Yield what is written of a sample, and the numbers of the channels for it."""
        channel = self._channels.get(source) or self._open_channel(source)
        if channel.show is None and channel.looks:
            self._open_shown(channel, source, event)
        yield channel.number, encode(event)
        if channel.show is None or channel.shown_number is None:
            return
        shown = channel.show(event, self._wall_ns)
        if shown is None:
            self._tell_odd(source)
        else:
            yield channel.shown_number, shown

    def _open_channel(self, source: str) -> _Channel:
        number = self._writer.register_channel(source, ENCODING, self._schema)
        channel = self._channels[source] = _Channel(number)
        return channel

    def _open_shown(self, channel: _Channel, source: str, event: Event) -> None:
        from .foxglove import showing

        channel.looks -= 1
        form = showing(event, self._pictures, source)
        if form is not None:
            schema = form.register(self._writer)
            name = f"{source}/{form.name}"
            channel.shown_number = self._writer.register_channel(name, "protobuf", schema)
            channel.show = form.make

    def _tell_odd(self, source: str) -> None:
        """Say once of an output that a sample is recorded, but not as what it mostly is."""
        self._odd[source] += 1
        if self._odd[source] == 1:
            logger.warning(
                "%s: a sample is none of what the others are, a picture or boxes; it is recorded "
                "as it is, and not said again",
                source,
            )

    def _broken(self, error: OSError) -> RecordingError:
        return RecordingError(
            f"{self.path} cannot be written any more: {error.strerror}; what was recorded before "
            "can be replayed"
        )


def check_path(path: Path, *, overwrites: bool) -> None:
    """Check that a recording is possible, before anything is started for it.

    Raises:
        RecordingError: the file exists.
        ExtraMissingError: the extra `record` is not installed.
    """
    import_extra(_import_writer)
    if path.exists() and not overwrites:
        raise RecordingError(
            f"{path} exists already, and is left as it is; choose another name, or --overwrite"
        )


def _import_writer() -> Any:
    import mcap.writer

    return mcap.writer
