"""Breakages of the pipe: what is read, what is reused, and what is believed of a change map."""

from __future__ import annotations

from mutants.mutant import of

_plan = of("pipe/plan.py", "unit/pipe/test_plan.py")
_fetch = of("pipe/fetch.py", "unit/pipe/test_download.py")
_download = of("pipe/download.py", "unit/pipe/test_download.py")
_sample = of("pipe/sample.py", "unit/pipe/test_sample.py")
_threads = of("pipe/threads.py", "unit/pipe/test_threads.py unit/pipe/test_download.py")
_watched = of("pipe/watched.py", "unit/pipe/test_watched.py")

MUTANTS = (
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
        "sample-without-layers-zeros",
        "Of a known layer every cell may be looked at, those that were zeros too.",
        "if known or kind == REUSE",
        "if kind == REUSE",
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
        "chosen | {0} if known else chosen",
        "chosen",
    ),
    _sample(
        "share-without-sign",
        "A bare number is no share of a disk.",
        'if not 0 <= rate <= 1 or (rate and not word.endswith("%")):',
        "if not 0 <= rate <= 1:",
    ),
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
