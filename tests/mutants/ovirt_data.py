"""Breakages of the data path: every byte counted, every ticket hidden, every transfer ended."""

from __future__ import annotations

from mutants.mutant import of

_TRANSFERS = "unit/ovirt/data/test_transfers_scripted.py"
_IMAGEIO = "unit/ovirt/data/test_imageio_scripted.py"

_imageio = of("ovirt/data/imageio.py", _IMAGEIO)
_connection = of("ovirt/data/imageio_connection.py", _IMAGEIO)
_transfer_session = of("ovirt/data/transfer_session.py", _IMAGEIO)
_transfer = of("ovirt/data/transfer.py", _TRANSFERS)
_transfers = of("ovirt/data/transfers.py", _TRANSFERS)
_beginning = of("ovirt/data/transfers.py", "integration/ovirt/test_ovirt_transfers.py")
_answers = of("ovirt/data/answers.py", _IMAGEIO)
_steady = of("ovirt/data/imageio_connection.py", "unit/ovirt/test_trickle.py")

MUTANTS = (
    _beginning(
        "ended-before-it-begins",
        "A transfer over a disk is ended when it has begun: what is asked of it before is forgotten.",
        "    if keep_disk and phase in BEGINNING:",
        "    if keep_disk and phase in TERMINAL:",
    ),
    _steady(
        "drops-for-ever",
        "An answer that comes in drops ends.",
        "        elif got and self._waited >",
        "        elif not got and self._waited >",
    ),
    _imageio(
        "short-body-accepted",
        "A body that ends early is taken up at the next byte.",
        '            raise Broken("the daemon ended a body early")',
        "            return len(view)",
    ),
    _imageio(
        "resumed-at-the-beginning",
        "And at no other.",
        "response = self._request(position, end)",
        "response = self._request(offset, end)",
    ),
    _imageio(
        "other-length-accepted",
        "A daemon that offers another length is not believed.",
        "        if response.length != end - position:",
        "        if response.length is None:",
    ),
    _imageio(
        "resumes-uncounted",
        "Each connection that is taken up again is counted.",
        "        self.resumes += 1\n        if isinstance(error, TicketGone):",
        "        if isinstance(error, TicketGone):",
    ),
    _imageio(
        "short-list-of-extents",
        "A list of extents that ends before the disk is refused.",
        "                if position < self.size:\n                    raise TransferFailed(",
        "                if position < 0:\n                    raise TransferFailed(",
    ),
    _imageio(
        "extents-twice",
        "A list that broke goes on where it broke.",
        "            first = max(extent.start, position)",
        "            first = extent.start",
    ),
    _imageio(
        "no-record-of-changes",
        "An export without a record of changes is a lost checkpoint.",
        'if context == "dirty" and error.status == 404:',
        'if context == "dirty" and error.status == 999:',
    ),
    _imageio(
        "written-elsewhere",
        "Bytes are written where they belong.",
        'f"bytes {offset}-{offset + length - 1}/*"',
        'f"bytes 0-{length - 1}/*"',
    ),
    _imageio(
        "flush-forgotten",
        "A flush is one.",
        'self._patch({"op": "flush"})',
        'self._patch({"op": "zero", "offset": 0, "size": 0, "flush": True})',
    ),
    _imageio(
        "refused-write-repeated",
        "A write that is refused is told at once.",
        "raise attempts.refused(error) from None\n\n    def close",
        "attempts.failed(error)\n\n    def close",
    ),
    _connection(
        "ticket-in-an-error",
        "No error shows a ticket.",
        'text = text.replace(ticket, "(ticket)") if ticket else text',
        "text = text or ticket",
    ),
    _connection(
        "ticket-in-repr",
        "An address does not show its path.",
        "path: str = field(repr=False)",
        "path: str",
    ),
    _connection(
        "lost-ticket-is-a-refusal",
        "A ticket that is not known is one that can be renewed.",
        "        if status == 403:",
        "        if status == 499:",
    ),
    _transfer_session(
        "nine-connections",
        "Eight connections in all: the ninth hangs in qemu-nbd.",
        "MAX_CONNECTIONS = 8",
        "MAX_CONNECTIONS = 9",
    ),
    _transfer_session(
        "place-not-freed",
        "A connection that is hung up frees its place.",
        "        if known:\n            self._slots.release()",
        "        if not known:\n            self._slots.release()",
    ),
    _transfer_session(
        "renewed-by-each-thread",
        "A ticket is renewed once for all threads that miss it.",
        "            if self._generation != generation:\n                return",
        "            if self._generation < generation:\n                return",
    ),
    _transfer_session(
        "endless-attempts",
        "Attempts without a byte end.",
        "if self._count >= session.persistence.attempts:",
        "if self._count >= 100 * session.persistence.attempts:",
    ),
    _transfer_session(
        "progress-not-counted",
        "Each byte that moves starts the count again.",
        "        self._count = 0\n        self._session.used()",
        "        self._session.used()",
    ),
    _transfer_session(
        "connection-after-close",
        "After the end no connection is made.",
        "        if closed:\n            self.hang_up(connection)",
        "        if closed is None:\n            self.hang_up(connection)",
    ),
    _transfer_session(
        "urls-shown",
        "The addresses of a transfer do not show.",
        '        return "Urls(...)"',
        '        return f"Urls({self.direct}, {self.proxy})"',
    ),
    _answers(
        "gap-in-extents",
        "A gap in the daemon's list is refused.",
        "            if extent.start != end:",
        "            if extent.start < end:",
    ),
    _answers(
        "word-for-true",
        "A word in place of `true` turns no data into zeros.",
        "    if not isinstance(zero, bool) or not isinstance(dirty, bool):",
        "    if zero is None or dirty is None:",
    ),
    _answers(
        "empty-extents",
        "A list of empty extents has no end.",
        "            if not extent.length and listed:",
        "            if not extent.length and not listed:",
    ),
    _answers(
        "half-list-is-a-list",
        "A list that breaks off is not the list.",
        '    raise BrokeOff("the list of extents broke off")',
        "    return",
    ),
    _answers(
        "any-checksum",
        "A checksum is a text.",
        '    if not isinstance(found, str):\n        raise _nonsense(name, "its checksum',
        '    if found is None:\n        raise _nonsense(name, "its checksum',
    ),
    _transfer(
        "direction-untold",
        "The direction is always told: the engine's default is upload.",
        "direction=t.ImageTransferDirection.UPLOAD if upload else t.ImageTransferDirection.DOWNLOAD,",
        "direction=t.ImageTransferDirection.UPLOAD if upload else None,",
    ),
    _transfer(
        "timeout-of-zero",
        "A transfer that waits is not ended at once.",
        "INACTIVITY = 3600",
        "INACTIVITY = 60",
    ),
    _transfer(
        "failure-is-success",
        "A transfer that failed at its end failed.",
        '        if phase == "finished_success":',
        "        if phase in _TERMINAL:",
    ),
    _transfer(
        "illegal-disk-is-success",
        "Where the engine forgot the transfer, the disk tells.",
        'return str(disk.status) == "ok"',
        'return str(disk.status) != "locked"',
    ),
    _transfers(
        "finished-upload-cancelled",
        "What ends already is not cancelled: an upload would lose its disk.",
        'if not phase.startswith(("finalizing", "cancelled", "finished")):',
        'if not phase.startswith("finished"):',
    ),
    _transfer(
        "plain-disk-renewed",
        "A second transfer of a plain disk need not give the same bytes.",
        'return self.direction == "download" and (self.backup_id is not None or self.image_id is not None)',
        'return self.direction == "download"',
    ),
    _transfers(
        "any-transfer-is-ours",
        "Only the transfer that bears our mark is ours.",
        "if same_disk and transfer.inactivity_timeout == mark and str(transfer.direction) == direction:",
        "if same_disk and str(transfer.direction) == direction:",
    ),
    of("ovirt/data/transfers.py", "unit/ovirt/tracked/test_cleanup_scripted.py")(
        "transfers-of-others-cancelled",
        "Only the transfers of a backup's disks are ended with it.",
        "        mine = transfer.image is not None and transfer.image.id in disk_ids\n",
        "        mine = transfer.image is not None\n",
    ),
    _transfer(
        "same-mark-again",
        "A renewed transfer bears another mark.",
        "        self._mark = self.request.inactivity_timeout +",
        "        _ = self.request.inactivity_timeout +",
    ),
    _transfer(
        "disk-left-locked",
        "A disk is waited for until it is unlocked.",
        '                return str(found.status) == "locked"',
        '                return str(found.status) == "illegal"',
    ),
    _transfer(
        "ticket-not-kept-alive",
        "A ticket that waits is kept alive.",
        "                self.session.touch()",
        "                pass",
    ),
)
