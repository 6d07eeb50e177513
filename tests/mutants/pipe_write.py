"""Breakages of the pipe: what is written, how it is proven, and what stands between."""

from __future__ import annotations

from mutants.mutant import of

_upload = of("pipe/upload.py", "unit/pipe/test_upload.py")
_digests = of("pipe/digests.py", "unit/pipe/test_proof.py")
_proof = of("pipe/proof.py", "unit/pipe/test_proof.py")
_holes = of("pipe/holes.py", "unit/pipe/test_upload.py")
_walk = of("pipe/walk.py", "unit/pipe/test_upload.py")
_file = of("pipe/file_target.py", "unit/pipe/test_file_target.py")
_source = of("pipe/file_source.py", "unit/pipe/test_contents.py")
_patched = of("pipe/patched.py", "unit/pipe/test_contents.py")
_shared = of("pipe/shared.py", "unit/pipe/test_contents.py")
_trimmed = of("pipe/trimmed.py", "unit/pipe/test_contents.py")
_differing = of("pipe/differing.py", "unit/pipe/test_differing.py")
_compare = of("pipe/compare.py", "unit/pipe/test_compare.py")

MUTANTS = (
    _differing(
        "tail-not-proven",
        "What lies behind the archived end of a disk that has grown is proven to be zeros.",
        "    if target.size > wanted.size:",
        "    if target.size < wanted.size:",
    ),
    _upload(
        "smaller-target",
        "A target smaller than the disk is refused before a byte is written.",
        "if target.size < content.size:",
        "if target.size < 0:",
    ),
    _upload(
        "zeros-not-written",
        "Zeros are written where the target may hold something else.",
        "sending.skip if target_is_zero else None",
        "sending.skip",
    ),
    _upload(
        "stale-tail-left",
        "A larger target reads as zeros after the archived size.",
        "gather.zeros(content.size, target.size - content.size)",
        "gather.zeros(content.size, 0)",
    ),
    _upload(
        "last-request-lost",
        "The last request is sent, too.",
        "        gather.flush()\n        sending.close()",
        "        sending.close()",
    ),
    _upload(
        "no-flush",
        "Every connection flushes what it wrote.",
        "            writer.flush()",
        "            pass",
    ),
    _upload(
        "chunk-tail-lost",
        "Zeros at the end of a chunk are zeroed.",
        "gather.zeros(offset + done, size - done)",
        "gather.zeros(offset + done, 0)",
    ),
    _upload(
        "apart-joined",
        "Only neighbours share a request.",
        "            or current.end != offset\n            or current.weight",
        "            or current.weight",
    ),
    _upload(
        "requests-without-limit",
        "A request stays below its limit.",
        "or current.weight + weight > self._limit",
        "or current.weight < 0",
    ),
    _upload(
        "window-without-limit",
        "Memory is bounded while a writer stalls.",
        "lambda: not self._weight or self._weight + request.weight <= self._window",
        "lambda: True",
    ),
    _upload(
        "endless-zeroing",
        "Zeros are asked for in bounded pieces: a cancelled upload should end soon.",
        "taken = min(length, ZERO_REQUEST - current.length)",
        "taken = length",
    ),
    _upload(
        "block-not-hashed",
        "Each block that passes by is hashed for the proof.",
        "if digests.whole(offset, size):",
        "if False and digests.whole(offset, size):",
        survives="It is the slower way to the same digests: whole blocks hashed on one thread.",
    ),
    _walk(
        "short-archive",
        "Chunks that do not make the whole disk end the restore.",
        "if offset != content.size:",
        "if offset < 0:",
    ),
    _walk(
        "long-archive",
        "Chunks that make more than the disk end it, too.",
        "if offset + chunk.size > content.size:",
        "if offset > content.size:",
    ),
    _walk(
        "chunk-of-another-size",
        "A chunk that has other bytes than its size is refused.",
        "if view is None or len(view) != chunk.size:",
        "if view is None:",
    ),
    _holes(
        "edge-of-data-lost",
        "A run of data ends where its data ends.",
        "end = start + len(piece)",
        "end = start + len(piece) - 1",
    ),
    _holes(
        "small-holes-cut",
        "Zeros shorter than the least gap move: cutting them off would only add requests.",
        "if runs and start - runs[-1][1] < max(1, min_gap):",
        "if runs and start - runs[-1][1] < 1:",
    ),
    _digests(
        "zeros-not-hashed",
        "What is skipped counts as zeros.",
        "self.hash.update(bytes(offset - self._position))",
        "pass",
    ),
    _digests(
        "fed-twice",
        "Bytes that were hashed already are an error.",
        "if offset < self._position:",
        "if offset < 0:",
    ),
    _digests(
        "short-last-block",
        "The digest of the last block is of its own length.",
        "if size % block:\n            self._set",
        "if False:\n            self._set",
    ),
    _digests(
        "open-block-lost",
        "The block that was begun last counts, too.",
        "        self.finish()\n        return block_digest(self._digests).hex()",
        "        return block_digest(self._digests).hex()",
    ),
    _digests(
        "any-block-size",
        "Blocks follow the grid only where the daemon takes that size.",
        "if MiB <= size <= 16 * MiB and size % (4 * KiB) == 0 else BLOCK",
        "if MiB <= size <= 16 * MiB else BLOCK",
    ),
    _proof(
        "checksum-believed",
        "Only the daemon's checksum over the very bytes is a proof.",
        "if theirs == digests.checksum():",
        "if theirs is not None:",
    ),
    _proof(
        "checksum-of-more",
        "A checksum over more than the disk is not asked for.",
        "if use_checksum and target.size == digests.size:",
        "if use_checksum:",
    ),
    _proof(
        "smaller-target-proven",
        "A target smaller than the archive is no proof.",
        "if target.size < digests.size:",
        "if target.size < 0:",
    ),
    _proof(
        "other-bytes-proven",
        "A block that differs is found.",
        "if arrival.prepared != digests.digest(index):",
        "if arrival.prepared is None:",
    ),
    _proof(
        "zeros-proven",
        "A block that reads as zeros though data was archived is found.",
        "if index < self._digests.count and self._digests.digest(index) != self._zeros.digest(index):",
        "if index < 0:",
    ),
    _proof(
        "tail-proven",
        "Anything but zeros after the archived size is found.",
        "elif index >= digests.count:\n            raise",
        "elif index < 0:\n            raise",
        survives="A block past the last one has no digest, which nothing is equal to: it is found one step later.",
    ),
    _proof(
        "last-block-proven",
        "The block in which the disk ends is compared up to there.",
        "if block_digest(arrival.buffer[:length]) != digests.digest(index):",
        "if length < 0:",
    ),
    _proof(
        "rest-of-block-proven",
        "And after it only zeros are right.",
        'if arrival.buffer[length : arrival.size].tobytes().strip(b"\\0"):',
        "if length < 0:",
    ),
    _proof(
        "disagreement-ignored",
        "A wrong checksum is an error though all was read back well.",
        "    if theirs is not None:\n        raise",
        "    if theirs is None:\n        raise",
    ),
    _file(
        "restored-file-not-synced",
        "A restored file is on the disk before anybody relies on it.",
        "    os.fsync(descriptor)  # the size, too, of a file without any data",
        "    pass",
    ),
    _file(
        "small-file-not-synced",
        "So is a small one.",
        "        os.fsync(file.fileno())",
        "        pass",
    ),
    _file(
        "sync-of-nothing",
        "So are the files of other programs, and names.",
        "        os.fsync(descriptor)\n    finally:",
        "        pass\n    finally:",
    ),
    _file(
        "readable-disk",
        "A disk's content is nobody else's.",
        "os.O_CLOEXEC, 0o600)",
        "os.O_CLOEXEC, 0o666)",
    ),
    _file(
        "half-file-left",
        "A restore that fails leaves no file.",
        "            path.unlink(missing_ok=True)",
        "            pass",
    ),
    _file(
        "file-overwritten",
        "A file that exists is kept.",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC",
        "os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC",
    ),
    _file(
        "short-write",
        "A write that takes only a part is gone on with.",
        "offset += written\n                view = view[written:]",
        "offset += written\n                view = view[len(view) :]",
    ),
    _source(
        "data-taken-for-a-hole",
        "Only cells that lie in holes are zeros.",
        "if data < start:\n                data = self._next_data(start)",
        "if data < 0:\n                data = self._next_data(start)",
    ),
    _patched(
        "patch-at-zeros",
        "A chunk under the patch is no zeros any more.",
        "return not isinstance(chunk, _Touched) and self._content.is_zero(chunk)",
        "return self._content.is_zero(chunk.chunk if isinstance(chunk, _Touched) else chunk)",
    ),
    _patched(
        "patch-outside",
        "A patch lies inside of the content.",
        "if not 0 <= patch.offset <= patch.offset + len(patch.data) <= content.size:",
        "if not 0 <= patch.offset:",
    ),
    _patched(
        "second-chunk-unpatched",
        "A patch over the edge of two chunks changes both.",
        "if offset >= patch.offset + len(patch.data):",
        "if offset >= patch.offset + 1:",
    ),
    _shared(
        "no-turns",
        "Threads take turns at the repository.",
        "            with self._lock:\n                views = list",
        "            if True:\n                views = list",
    ),
    _trimmed(
        "trimmed-too-late",
        "Only the first bytes are there.",
        "yield view[: sizes.popleft()]",
        "yield view",
    ),
    _trimmed(
        "trim-beyond",
        "More than there is cannot be kept.",
        "if not 0 <= size <= content.size:",
        "if not 0 <= size:",
    ),
    _compare(
        "lost-bytes-unchanged",
        "What became zeros is told as zeroed.",
        "            if zero_after:\n                changes.zeroed += size",
        "            if zero_before:\n                changes.zeroed += size",
    ),
    _compare(
        "other-grids-compared",
        "Two grids have no chunk in common: that is said, not computed.",
        "if not (one == other or fits_old or fits_new):",
        "if False:",
    ),
    _compare(
        "ranges-not-merged",
        "Neighbours that changed are one range.",
        "if ranges and sum(ranges[-1]) == offset:",
        "if ranges and sum(ranges[-1]) < offset:",
    ),
)
