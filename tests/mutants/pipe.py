"""Breakages of the pipe: what is read, what is reused, what is written, and how that is proven."""

from __future__ import annotations

from mutants.mutant import of

_plan = of("pipe/plan.py", "unit/pipe/test_plan.py")
_fetch = of("pipe/fetch.py", "unit/pipe/test_download.py")
_download = of("pipe/download.py", "unit/pipe/test_download.py")
_sample = of("pipe/sample.py", "unit/pipe/test_sample.py")
_threads = of("pipe/threads.py", "unit/pipe/test_threads.py unit/pipe/test_download.py")
_upload = of("pipe/upload.py", "unit/pipe/test_upload.py")
_digests = of("pipe/digests.py", "unit/pipe/test_proof.py")
_proof = of("pipe/proof.py", "unit/pipe/test_proof.py")
_holes = of("pipe/holes.py", "unit/pipe/test_upload.py")
_watched = of("pipe/watched.py", "unit/pipe/test_watched.py")
_walk = of("pipe/walk.py", "unit/pipe/test_upload.py")
_file = of("pipe/file_target.py", "unit/pipe/test_file_target.py")
_source = of("pipe/file_source.py", "unit/pipe/test_contents.py")
_patched = of("pipe/patched.py", "unit/pipe/test_contents.py")
_shared = of("pipe/shared.py", "unit/pipe/test_contents.py")
_trimmed = of("pipe/trimmed.py", "unit/pipe/test_contents.py")
_compare = of("pipe/compare.py", "unit/pipe/test_compare.py")

_PLAN = (
    _plan(
        "gap-in-extents",
        "A list of extents with a hole is refused: what lies there would be lost.",
        "if start != position or length <= 0:",
        "if start < position or length <= 0:",
    ),
    _plan(
        "short-extents",
        "A list of extents that ends early is refused.",
        "if position != size:\n        raise",
        "if position > size:\n        raise",
    ),
    _plan(
        "extents-past-the-end",
        "Extents past the end of the disk are refused where no longer export is expected.",
        "if not longer_export:\n                raise",
        "if longer_export:\n                raise",
    ),
    _plan(
        "dirty-extent-forgotten",
        "One dirty extent in a cell makes the whole cell dirty.",
        "if dirty:\n                touched = True",
        "if dirty and not data:\n                touched = True",
    ),
    _plan(
        "unfit-base",
        "A base of another grid, or of a larger disk, is not built on.",
        "if base is not None and (base.cell != cell or base.size > size):",
        "if base is not None and base.cell != cell and base.size > size:",
    ),
    _plan(
        "grown-tail-reused",
        "The short last cell of a disk that grew is read again.",
        "self.comparable = plan.cells if base.size == plan.size else base.size // plan.cell",
        "self.comparable = min(plan.cells, -(-base.size // plan.cell))",
    ),
    _plan(
        "clean-past-the-base",
        "The part of a disk that the base has not is read, though no bitmap calls it dirty.",
        "reused = max(first, min(end, self.comparable))",
        "reused = end",
    ),
    _plan(
        "fragment-past-the-base",
        "So is a cell of many extents.",
        "elif not dirty and index < self.comparable:",
        "elif not dirty:",
    ),
    _plan(
        "zeros-reused-as-data",
        "What is known to be zeros is stored as zeros when a whole item is reused.",
        "for index in base.data_cells(0, plan.cells):",
        "for index in range(plan.cells):",
    ),
    _plan(
        "silent-mismatch",
        "A clean cell that reads as zeros though the base has data is told: the bitmap lies.",
        "if not dirty:\n                self._check_zeros(first, end)",
        "if False:\n                self._check_zeros(first, end)",
    ),
    _plan(
        "fragment-mismatch",
        "The same for a cell of many extents.",
        "if not dirty:\n                self._check_zeros(index, index + 1)",
        "if False:\n                self._check_zeros(index, index + 1)",
    ),
    _plan(
        "gap-between-runs",
        "Ranges are merged only within a run of fetched cells.",
        "if first != self.fetched_to:\n            self.run_start = len(plan.ends)",
        "if not plan.ends:\n            self.run_start = len(plan.ends)",
    ),
    _plan(
        "range-cut-at-a-span",
        "A range that goes on after a span is taken up again by the next one.",
        "if self.ends[number] > end:\n                break",
        "if self.ends[number] > end + self.cell:\n                break",
    ),
    _plan(
        "short-cell-counted-long",
        "The bytes of the last cell are counted as they are.",
        "totals[self.kinds[-1]] -= self.cells * self.cell - self.size",
        "totals[self.kinds[0]] -= self.cells * self.cell - self.size",
    ),
)

_READ = (
    _fetch(
        "fewer-pieces",
        "A source that ends early ends the download.",
        "if count != len(pieces):\n                raise",
        "if count > len(pieces):\n                raise",
    ),
    _fetch(
        "half-pieces",
        "A piece that is not full is never taken for data.",
        "if count == len(pieces) or len(view) != len(pieces[count][1]):",
        "if count == len(pieces):",
    ),
    _fetch(
        "stale-buffer",
        "What an earlier cell left in a buffer never shines through a gap.",
        "self.view[self.laid : begin] = zeros[: begin - self.laid]",
        "pass",
    ),
    _fetch(
        "stale-tail",
        "Nor after the last data of a cell.",
        "cell.lay(cell.size, cell.size, self._zeros)",
        "pass",
    ),
    _fetch(
        "partial-cell-delivered",
        "A cell is handed over only when all of its pieces are there.",
        "if not cell.missing:\n                    self._deliver(cell)",
        "if cell.missing < cell.size:\n                    self._deliver(cell)",
    ),
    _fetch(
        "zeros-hashed",
        "Data that is zero is stored as zeros.",
        "None if self._zeros.startswith(cell.view) else self._prepare(cell.view)",
        "self._prepare(cell.view)",
    ),
    _fetch(
        "nine-readers",
        "No more than eight connections read: the ninth hangs in qemu-nbd.",
        "MAX_READERS = 8",
        "MAX_READERS = 9",
    ),
    _fetch(
        "claims-out-of-order",
        "Spans are claimed in order together with their buffers, so that nobody waits for ever.",
        "        with self._claiming:\n            self._group.check()",
        "        if True:\n            self._group.check()",
    ),
    _fetch(
        "buffers-kept",
        "Buffers are free again for the next disk, however this one ended.",
        "            self._buffers.reclaim()",
        "            pass",
    ),
    _fetch(
        "first-request-small",
        "The first request is the largest: qemu-nbd keeps the buffers of the others then.",
        "self._request = max(opening, REQUEST)",
        "self._request = REQUEST",
    ),
    _fetch(
        "resumes-not-counted",
        "Every connection that was taken up again is counted.",
        "self.resumes += reader.resumes",
        "self.resumes = reader.resumes",
    ),
    _download(
        "short-source",
        "A source that is smaller than the disk is refused.",
        "if source is not None and source.size < plan.size:",
        "if source is not None and source.size < 0:",
    ),
    _download(
        "bytes-not-counted",
        "A download that moved other bytes than planned is an error.",
        "if stats.bytes_read != plan.bytes_to_fetch:",
        "if stats.bytes_read < 0:",
    ),
    _download(
        "short-zero-cell",
        "The last zeros of a disk are as long as they are.",
        "whole = end if short == self._plan.cell else end - 1",
        "whole = end",
    ),
    _download(
        "wrong-chunk-reused",
        "Each reused cell is the base's chunk of the same place.",
        "reuse(reference(index))",
        "reuse(reference(first))",
    ),
    _download(
        "new-bytes-overcounted",
        "Only bytes that the repository did not hold count as new.",
        "if self._sink.store(arrival.prepared):",
        "if self._sink.store(arrival.prepared) or True:",
    ),
    _download(
        "gaps-counted-as-read",
        "Zeros inside of a fetched cell count as zeros.",
        "gaps = arrival.size - arrival.moved",
        "gaps = 0",
    ),
    _sample(
        "sample-foreseen",
        "The guest cannot foresee which cells are looked at.",
        "random.SystemRandom().sample",
        "random.Random(1).sample",
    ),
    _sample(
        "sample-too-small",
        "At least a few cells of each disk are looked at.",
        "count = max(sampling.minimum, math.ceil(sampling.rate * len(candidates)))",
        "count = math.ceil(sampling.rate * len(candidates))",
    ),
    _sample(
        "sample-believed",
        "A sampled cell whose bytes are not the base's is named.",
        "if zero else base.same(index, arrival.prepared)):",
        "if zero else True):",
    ),
    _sample(
        "sample-zeros-believed",
        "So is one that became zeros.",
        "if not (base.is_zero(index) if zero",
        "if not (True if zero",
    ),
    _sample(
        "first-cell-left-out",
        "Where the first cell holds a header it is among the sample.",
        "chosen | {0} if with_first and candidates[0] == 0 else chosen",
        "chosen",
    ),
    _sample(
        "share-without-sign",
        "A bare number is no share of a disk.",
        'if not 0 <= rate <= 1 or (rate and not word.endswith("%")):',
        "if not 0 <= rate <= 1:",
    ),
)

_THREADS = (
    _threads(
        "error-swallowed",
        "What goes wrong in a thread ends the work.",
        "if error is not None and not self.stopped:\n                self._error = error",
        "if error is not None and not self.stopped:\n                self._error = None",
    ),
    _threads(
        "second-error-told",
        "The first error is the one that is told.",
        "if error is not None and not self.stopped:",
        "if error is not None:",
    ),
    _threads(
        "connections-left",
        "Connections under way are cut when the work ends.",
        "held = list(self._held)",
        "held = []",
    ),
    _threads(
        "threads-left",
        "No thread outlives the work.",
        "while thread.is_alive():",
        "while False:",
    ),
    _threads(
        "early-end-awaited",
        "Threads that ended too early are an error, not an endless wait.",
        "if not self._working:\n                raise",
        "if self._working < 0:\n                raise",
    ),
    _threads(
        "late-connection-works",
        "A connection that opens after the end does nothing.",
        "        try:\n            self.check()\n            yield resource",
        "        try:\n            yield resource",
    ),
    _threads(
        "close-forgotten",
        "Each connection is closed by the thread that held it.",
        "            _close(resource)\n\n    def check",
        "            pass\n\n    def check",
    ),
)

_WRITE = (
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
)

_PROVE = (
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
)

_WATCHED = (
    _watched(
        "burst-saved-up",
        "Time that nobody used is kept for a short burst only.",
        "max(self._paid_until, now - self._burst / self._rate)",
        "self._paid_until",
    ),
    _watched(
        "rate-ignored",
        "All readers together keep to the rate.",
        "        if pause > 0:\n            wait(pause)",
        "        if pause < 0:\n            wait(pause)",
    ),
    _watched(
        "alarm-cuts-nobody",
        "The alarm ends readers under way.",
        "        for reader in readers:\n            reader.close()",
        "        for reader in ():\n            reader.close()",
    ),
    _watched(
        "alarm-overruled",
        "The first reason counts.",
        "self._error = self._error or error",
        "self._error = error",
    ),
    _watched(
        "cut-told-as-failure",
        "A connection that the alarm cut fails for the alarm's reason.",
        "        except Exception:\n            self._alarm.check()",
        "        except Exception:\n            pass",
    ),
    _watched(
        "new-connection-after-alarm",
        "No connection is made after the alarm.",
        "        self._alarm.check()\n        return WatchedReader",
        "        return WatchedReader",
    ),
)

_FILES = (
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

MUTANTS = _PLAN + _READ + _THREADS + _WRITE + _PROVE + _WATCHED + _FILES
