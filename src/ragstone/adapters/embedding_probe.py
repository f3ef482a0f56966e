"""Tells whether the model behind an address is still the one it was, for servers that do not say which they serve.

A fixed text is embedded with everything else. Its vector is kept as 256 bits, each of which says on which side of a fixed hyperplane it lies
(SimHash: Charikar 2002, Similarity estimation techniques from rounding algorithms). Of two vectors that are an angle a apart, 256 * a / pi bits differ on
average: 128 for another model. What was measured is in docs/adr/0026.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragstone.domain.retrieval import Vector

# Several scripts, as tokenizers differ on them. Never to be changed: records are of this text.
TEXT = "Pump no. 7 stops at 5 °C: für 水"
TOLERANCE = 8  # bits that may differ: on average those of two vectors with a cosine of .995
_BITS = 256
_PROBE = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


def fingerprint(vector: Vector) -> str:
    """The 256 bits of the probe's vector (d,) in hexadecimal. Its length does not matter."""
    return np.packbits(_planes(len(vector)) @ vector.astype(np.float32) > 0).tobytes().hex()


def differing(one: str, other: str) -> int:
    """Bits in which two fingerprints differ, 0 to 256."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


class ProbeRecord:
    """The fingerprint of a server's model as this machine saw it first, in a file in `folder`.

    `name`, `revision` and `digest` are the operator's: for another revision there is another file.
    """

    def __init__(self, folder: Path, name: str, revision: str, digest: str) -> None:
        key = hashlib.sha256(json.dumps([name, revision, digest]).encode()).hexdigest()[:16]
        self.path = folder / f"probe-{key}.json"
        self._named = {"model": name, "revision": revision, "digest": digest}

    def read(self) -> str | None:
        """None where there is none, or none that can be read."""
        try:
            found = json.loads(self.path.read_bytes())["probe"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, str) and _PROBE.fullmatch(found) else None

    def write(self, probe: str) -> None:
        """Kept whole or not at all. Where it can't be kept, the log says so: another model is then noticed only while this process runs."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, suffix=".partial", delete=False) as file:
                json.dump({**self._named, "probe": probe}, file, indent=2)
            os.chmod(file.name, 0o644)  # the cache may be filled by one user and read by another
            os.replace(file.name, self.path)
        except OSError as error:
            _log.warning(
                "the fingerprint %s of the embedding server's model can't be kept in the model cache (%s); set embedder.probe to it",
                probe,
                error.strerror,
            )


@lru_cache(maxsize=4)
def _planes(dimension: int) -> NDArray[np.float32]:
    """(256, d) of 1 and -1, the same everywhere and for ever."""
    bits = hashlib.shake_256(b"ragstone embedding probe").digest(_BITS * dimension // 8)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(_BITS, dimension)
    return 2 * signs.astype(np.float32) - 1
