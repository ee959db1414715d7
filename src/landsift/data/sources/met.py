"""Which of very many texts were met before, in sixteen bytes for each."""

from __future__ import annotations

import hashlib


class Met:
    """Texts that were met; two have the same digest of 128 bits about never."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def again(self, text: str) -> bool:
        """Whether a text was met before; it is now."""
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        before = len(self._digests)
        self._digests.add(digest)
        return len(self._digests) == before
