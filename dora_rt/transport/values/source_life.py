"""Which life of a node on another machine has made a sample; a gateway writes it for its readers.

Readers see by the shared memory that a node of their own machine was started again. Behind a
gateway there is one writer all the time, so what it writes says it: in front of the metadata, in
every sample, since any single one may be dropped.
"""

from __future__ import annotations

import re

_MARK = re.compile(rb'\{"dora_rt\.life":"([0-9a-f]+\.[0-9a-f]+)"([,}])')


def with_life(metadata_json: bytes, run: int, generation: int) -> bytes:
    """Return metadata with the life in front: the run of the far machine, and a life in it."""
    mark = b'{"dora_rt.life":"%x.%x"' % (run, generation)
    rest = metadata_json[1:] if metadata_json.startswith(b"{") else b""
    # An empty dict has only its end.
    return mark + (b"}" if rest.strip() in (b"", b"}") else b"," + rest)


def split_life(metadata_json: bytes) -> tuple[bytes, bytes]:
    """Return the life in front of metadata, and the metadata that were sent; empty for none."""
    found = _MARK.match(metadata_json)
    if found is None:
        return b"", metadata_json
    rest = metadata_json[found.end() :]
    return found[1], b"{" + rest if found[2] == b"," else rest
