"""Read a recording, also one whose end is missing because its writer was killed."""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..recorded import ENCODING, METADATA_NAME, RecordingError, Sample, decode, import_extra
from .ros_topics import MESSAGE_ENCODING, SCHEMA_ENCODING, RosSample, RosTopic, source_of


class Recorded(NamedTuple):
    """A sample, and when it was sent: wall time in nanoseconds."""

    time_ns: int
    source: str
    sample: Sample | RosSample


@dataclass(frozen=True, slots=True)
class Recording:
    """What an MCAP file has of dora_rt.

    Attributes:
        path: the file.
        samples: by output, how many there are.
        begin_ns: wall time of the first of them, in nanoseconds.
        end_ns: of the last.
        is_whole: whether the file was ended well; if not, it may lack the last second.
        about: the metadata of the recorder.
    """

    path: Path
    samples: Mapping[str, int]
    begin_ns: int
    end_ns: int
    is_whole: bool
    about: Mapping[str, str]
    _sources: Mapping[int, str]
    _topics: Mapping[str, RosTopic]

    @classmethod
    def open(cls, path: Path, names: Mapping[str, str] | None = None) -> Recording:
        """Look through a file: a recording, or a bag of ROS 2.

        Args:
            path: the file.
            names: by topic of a bag, the output NODE/OUTPUT; others have that of the topic.

        Raises:
            RecordingError: it cannot be read, or has no sample of dora_rt and no message of ROS.
            ExtraMissingError: the extra `record` is not installed.
        """
        import_extra(_import_reader)
        try:
            with path.open("rb") as file:
                found = _summary(path, file, names or {}) or _scan(path, file, names or {})
        except OSError as error:
            raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
        if not found.samples:
            raise RecordingError(
                f"{path} has no sample of a dataflow of dora_rt, and no message of ROS 2"
            )
        return found

    def read(
        self, sources: Collection[str], start_ns: int = 0, end_ns: int = 2**63
    ) -> Iterator[Recorded]:
        """Return the samples of some outputs in the order in which they were sent.

        Args:
            sources: names of the outputs, NODE/OUTPUT.
            start_ns: wall time of the first to be given.
            end_ns: wall time before which the last is.

        Raises:
            RecordingError: the file is damaged in its middle.
        """
        waiting: list[tuple[int, int, str, bytes]] = []
        number = 0
        with self.path.open("rb") as file:
            for chunk in _chunks(file):
                # Samples sent at the same time may lie on both sides of the border of chunks.
                while waiting and waiting[0][0] < chunk.message_start_time:
                    yield self._recorded(heapq.heappop(waiting))
                if chunk.message_end_time < start_ns or chunk.message_start_time >= end_ns:
                    continue
                for message in _messages(chunk, self.path):
                    source = self._sources.get(message.channel_id)
                    if source is None or source not in sources:
                        continue
                    if start_ns <= message.log_time < end_ns:
                        number += 1
                        heapq.heappush(waiting, (message.log_time, number, source, message.data))
        while waiting:
            yield self._recorded(heapq.heappop(waiting))

    def _recorded(self, entry: tuple[int, int, str, bytes]) -> Recorded:
        time_ns, _, source, message = entry
        topic = self._topics.get(source)
        sample = decode(message) if topic is None else topic.decode(message, time_ns)
        return Recorded(time_ns, source, sample)


class _Channels:
    """The channels of a file that can be replayed."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.sources: dict[int, str] = {}
        self.topics: dict[str, RosTopic] = {}

    def add(self, channel: Any, schema: Any) -> None:
        """Take a channel, if it is one of dora_rt or of ROS 2."""
        if channel.message_encoding == ENCODING:
            self.sources[channel.id] = channel.topic
        elif channel.message_encoding == MESSAGE_ENCODING and schema is not None:
            if schema.encoding != SCHEMA_ENCODING:
                return
            source = source_of(channel.topic, self._names)
            self.sources[channel.id] = source
            self.topics[source] = RosTopic(channel.topic, schema.name, schema.data)


def _summary(path: Path, file: BinaryIO, names: Mapping[str, str]) -> Recording | None:
    """Read the index at the end of the file; None if it has none, or a damaged one."""
    reader = import_extra(_import_reader)
    try:
        seeking = reader.SeekingReader(file)
        summary = seeking.get_summary()
        if summary is None or summary.statistics is None:
            return None
        metadata = {record.name: record.metadata for record in seeking.iter_metadata()}
    except _damages(OSError):
        return None
    counts = summary.statistics.channel_message_counts
    channels = _Channels(names)
    for channel in summary.channels.values():
        channels.add(channel, summary.schemas.get(channel.schema_id))
    sources = channels.sources
    return Recording(
        path=path,
        # A channel that never got a message has no count.
        samples={
            topic: counts[number] for number, topic in sources.items() if counts.get(number, 0)
        },
        begin_ns=summary.statistics.message_start_time,
        end_ns=summary.statistics.message_end_time,
        is_whole=True,
        about=metadata.get(METADATA_NAME, {}),
        _sources=sources,
        _topics=channels.topics,
    )


def _scan(path: Path, file: BinaryIO, names: Mapping[str, str]) -> Recording:
    """Go through all that can be read of a file without an end."""
    records = import_extra(_import_records)
    samples: Counter[str] = Counter()
    channels, schemas = _Channels(names), {}
    sources = channels.sources
    about: dict[str, str] = {}
    times_ns: list[int] = []
    file.seek(0)
    try:
        for record in _records(file):
            if isinstance(record, records.Metadata) and record.name == METADATA_NAME:
                about = record.metadata
            if not isinstance(record, records.Chunk):
                continue
            times_ns += (record.message_start_time, record.message_end_time)
            for inner in _inner(record, path):
                if isinstance(inner, records.Schema):
                    schemas[inner.id] = inner
                elif isinstance(inner, records.Channel):
                    channels.add(inner, schemas.get(inner.schema_id))
                elif isinstance(inner, records.Message) and inner.channel_id in sources:
                    samples[sources[inner.channel_id]] += 1
    except import_extra(_import_exceptions).InvalidMagic as error:
        raise RecordingError(f"{path} is no MCAP file") from error
    return Recording(
        path=path,
        samples=samples,
        begin_ns=min(times_ns, default=0),
        end_ns=max(times_ns, default=0),
        is_whole=False,
        about=about,
        _sources=sources,
        _topics=channels.topics,
    )


def _records(file: BinaryIO) -> Iterator[Any]:
    """Return the records of a file up to where it ends, also if that is in the middle of one."""
    stream_reader = import_extra(_import_stream_reader)
    exceptions = import_extra(_import_exceptions)
    try:
        yield from stream_reader.StreamReader(file, emit_chunks=True).records
    except exceptions.InvalidMagic:
        if file.tell() <= 8:
            raise  # at the beginning; one at the end is missing or damaged only
    except _damages():
        return


def _chunks(file: BinaryIO) -> Iterator[Any]:
    chunk = import_extra(_import_records).Chunk
    return (record for record in _records(file) if isinstance(record, chunk))


def _messages(chunk: Any, path: Path) -> Iterator[Any]:
    message = import_extra(_import_records).Message
    return (record for record in _inner(chunk, path) if isinstance(record, message))


def _inner(chunk: Any, path: Path) -> list[Any]:
    stream_reader = import_extra(_import_stream_reader)
    try:
        return list(stream_reader.breakup_chunk(chunk, validate_crc=True))
    except _damages(RuntimeError) as error:  # that of lz4
        raise RecordingError(f"{path} is damaged in its middle: {error}") from error


def _damages(*others: type[Exception]) -> tuple[type[Exception], ...]:
    mcap_error: type[Exception] = import_extra(_import_exceptions).McapError
    return mcap_error, struct.error, ValueError, *others


def _import_reader() -> Any:
    import mcap.reader

    return mcap.reader


def _import_stream_reader() -> Any:
    import mcap.stream_reader

    return mcap.stream_reader


def _import_records() -> Any:
    import mcap.records

    return mcap.records


def _import_exceptions() -> Any:
    import mcap.exceptions

    return mcap.exceptions
