"""Breakages of what all rooms stand on: units, qcow2 headers, progress."""

from __future__ import annotations

from mutants.mutant import of

_units = of("units.py", "unit/test_units.py")
_qcow2 = of("qcow2.py", "unit/test_qcow2.py")
_progress = of("progress/__init__.py", "unit/progress/test_progress.py")
_plain = of("progress/plain.py", "unit/progress/test_progress.py")
_lines = of("progress/jsonlines.py", "unit/progress/test_progress.py")
_bars = of("progress/bars.py", "unit/progress/test_progress.py")

MUTANTS = (
    _units("binary-for-decimal", "20MB are decimal.", "1000**power for power", "1024**power for power"),
    _units(
        "share-over-all",
        "No share is more than all.",
        "if not match or float(match[1]) > 100:",
        "if not match:",
    ),
    _units(
        "minutes-of-sixty",
        "A duration is rounded once: no `60s`.",
        "whole = int(seconds + 0.5)",
        "whole = int(seconds)",
    ),
    _qcow2(
        "data-elsewhere",
        "A qcow2 file that keeps its data in another file is refused: it could be any file of the machine.",
        "    if features & _EXTERNAL_DATA:",
        "    if features & _EXTERNAL_DATA and features & 1:",
    ),
    _qcow2(
        "data-file-named",
        "So is one whose extension names such a file.",
        "        if kind == _DATA_FILE:",
        "        if kind == 0:",
    ),
    _qcow2(
        "driver-for-the-parent",
        "And one that has its parent opened by another driver.",
        "if kind == _BACKING_FORMAT and bytes(head[start : start + length]) not in _FORMATS:",
        "if kind == _BACKING_FORMAT and not length:",
    ),
    _qcow2(
        "unknown-feature",
        "And one with features that nobody here knows.",
        "    if features & ~_KNOWN_FEATURES:",
        "    if features < 0:",
    ),
    _qcow2(
        "name-in-the-header",
        "A backing name lies where QEMU may write it.",
        "if not 0 < length <= _LONGEST_NAME or offset < _FIXED.size or offset + length > cluster:",
        "if not 0 < length <= _LONGEST_NAME or offset + length > cluster:",
    ),
    _qcow2(
        "name-of-another-length",
        "A backing name gives way only to one of its length.",
        "if len(data) != len(header.backing.encode()):",
        "if len(data) < len(header.backing.encode()):",
    ),
    _qcow2(
        "raw-taken-for-qcow2",
        "What does not begin as a qcow2 file is none.",
        "    if magic != MAGIC:\n        raise",
        '    if magic == b"":\n        raise',
    ),
    _progress(
        "bytes-lost-by-threads",
        "No byte is lost between threads.",
        "        with self._lock:\n            self.read += read",
        "        if True:\n            self.read += read",
        survives="The interpreter switches threads too seldom for a test to see it; free threading would.",
    ),
    _progress(
        "reused-not-done",
        "What is reused is done.",
        "return self.read + self.zero + self.reused",
        "return self.read + self.zero",
    ),
    _progress(
        "quiet-bars",
        "Quiet leaves warnings only.",
        "if bars and not quiet and stream.isatty():",
        "if bars and stream.isatty():",
    ),
    _plain(
        "quiet-warning",
        "A warning is printed even when quiet.",
        '        self._line(f"warning: {text}")',
        '        self.step(f"warning: {text}")',
    ),
    _plain(
        "line-for-each-chunk",
        "A disk says a line now and then, not for each chunk.",
        "due = now - self._told.get(id(gauge), now) >= self._every",
        "due = True",
    ),
    _plain(
        "progress-with-secrets",
        "No line of progress shows a secret.",
        'self._stream.write(shown(text) + "\\n")',
        'self._stream.write(text + "\\n")',
    ),
    _lines(
        "json-progress-with-secrets",
        "Nor a line of JSON.",
        'self._stream.write(json_text(line) + "\\n")',
        'self._stream.write(json.dumps(line) + "\\n")',
    ),
    _lines(
        "one-operation-for-all",
        "Each disk is an operation of its own.",
        "            self._operations += 1\n            self._told",
        "            self._operations = 1\n            self._told",
    ),
    _bars(
        "bars-with-secrets",
        "Nor a line above the bars.",
        "self._console.print(escape(shown(text)), soft_wrap=True)",
        "self._console.print(escape(text), soft_wrap=True)",
    ),
    _bars(
        "display-left",
        "The display is down when the work ends, and the cursor visible.",
        "            self._tasks.clear()\n            if self._live is not None:",
        "            self._tasks.clear()\n            if self._live is None:",
    ),
)
