"""Breakages of the repository: what an archive holds, what is ours, and what may go."""

from __future__ import annotations

from mutants.mutant import of

_READING = "integration/repository/test_reading.py"

_items = of("repository/borg_items.py", "unit/repository/test_borg_items.py")
_reader = of("repository/reader.py", _READING)
_catalogue = of("repository/catalogue.py", f"{_READING}::test_which_archives_are_ours")
_frames = of("repository/frames.py", "unit/repository/test_frames.py")
_layout = of("repository/layout.py", "unit/repository/test_layout.py")
_schema = of("repository/schema.py", "unit/repository/test_layout.py")
_manifest = of("repository/manifest.py", "unit/repository/test_layout.py")
_names = of("repository/names.py", "unit/repository/test_names.py")
_packed = of("repository/packed.py", "unit/repository/test_packed.py")
_readme = of("repository/readme.py", "unit/repository/test_readme.py")
_retention = of("repository/retention.py", "unit/repository/test_retention.py")
_series = of("repository/series.py", "unit/repository/test_series.py")
_listed = of("repository/catalogue.py", "unit/repository/test_catalogue.py")
_health = of("repository/health.py", "unit/repository/test_health.py")

MUTANTS = (
    _listed(
        "no-answer-no-archive",
        "A repository that does not answer is no list of what it has.",
        '        except RepositoryDamaged as error:\n            _log.warning("Archive',
        '        except Exception as error:\n            error.message = str(error)  # type: ignore[attr-defined]\n            _log.warning("Archive',
    ),
    _health(
        "no-answer-is-damage",
        "A repository that does not answer says nothing about an archive.",
        '    except (ArchiveNotFound, NotOurArchive, RepositoryDamaged) as error:\n        return error.message.rstrip(".")',
        '    except Exception as error:\n        return str(error).rstrip(".")',
    ),
    _reader(
        "repaired-zeros-restored",
        "A disk in which `borg check --repair` put zeros is damaged.",
        "return stored.repaired or not all(",
        "return not all(",
    ),
    _reader(
        "lost-chunk-unnoticed",
        "So is one of which a chunk is missing.",
        "return stored.repaired or not all(session.seen(chunk) for chunk, _ in groupby(stored.chunks))",
        "return stored.repaired",
    ),
    _reader(
        "size-not-compared",
        "A disk of another size than the manifest says is not restored.",
        "if not stored.size == expected == stored.chunks.total():",
        "if not stored.size == stored.chunks.total():",
    ),
    _reader(
        "missing-disk",
        "A disk that the manifest names and the archive lacks is told.",
        '        if stored is None:\n            raise NotOurArchive(f"Archive {self.name} lacks',
        '        if stored == 0:\n            raise NotOurArchive(f"Archive {self.name} lacks',
    ),
    of("repository/reader.py", "unit/repository/test_reader.py")(
        "repaired-manifest-read",
        "A small file that a repair filled with zeros is not read.",
        "        if stored.repaired:\n            raise",
        "        if False:\n            raise",
    ),
    of("repository/reader.py", "unit/repository/test_reader.py")(
        "chunk-of-another-length",
        "A chunk whose bytes are not as many as its item says is refused.",
        "if len(data) != chunk.size:",
        "if len(data) < 0:",
    ),
    of("repository/reader.py", "unit/repository/test_reader.py")(
        "huge-manifest",
        "A manifest of gigabytes is not loaded.",
        "        if size > _LARGEST_FILE:",
        "        if size < 0:",
    ),
    of("repository/borg_items.py", f"{_READING}::test_a_chunk_that_is_lost")(
        "repair-not-seen",
        "Borg's mark of repaired chunks is seen.",
        'repaired=facts.get(b"chunks_healthy") is not None,',
        "repaired=False,",
    ),
    of("repository/borg_reading.py", f"{_READING}::test_a_chunk_that_is_another")(
        "chunk-not-hashed",
        "A chunk is what its id says.",
        "        self._key.assert_id(id_, plain)",
        "        pass",
    ),
    of("repository/borg_reading.py", f"{_READING}::test_a_chunk_that_is_another")(
        "hash-not-waited-for",
        "What the thread found counts.",
        "    check.result()\n",
        "",
    ),
    _items(
        "parts-taken-for-files",
        "Parts of unfinished files are no files.",
        'if b"part" not in facts and stat.S_ISREG(facts.get(b"mode", 0)):',
        'if stat.S_ISREG(facts.get(b"mode", 0)):',
    ),
    _items(
        "links-taken-for-files",
        "Neither are links and directories.",
        'if b"part" not in facts and stat.S_ISREG(facts.get(b"mode", 0)):',
        'if b"part" not in facts:',
    ),
    _items(
        "huge-item-parsed",
        "An item of a disk is not parsed where small files are looked for.",
        "if most is not None and count > most:",
        "if most is not None and count < 0:",
    ),
    _catalogue(
        "checkpoint-listed",
        "An unfinished archive is no archive of ours.",
        "entries = [entry for entry in listed if not is_checkpoint_name(entry.name)]",
        "entries = list(listed)",
    ),
    _catalogue(
        "foreign-archive-listed",
        "A changed comment does not hide an archive of ours.",
        "if comment is None and facts.command[:1] == (TOOL,):",
        "if comment is None and facts.command[:1] == ():",
    ),
    of("repository/catalogue.py", "unit/repository/test_catalogue.py")(
        "one-damaged-hides-all",
        "A damaged archive does not hide the others.",
        "remaining = remaining[done + 1 :]",
        "remaining = []",
    ),
    of("repository/open.py", f"{_READING}::test_hold_release_delete_compact")(
        "unknown-archive-held",
        "Whoever holds an archive that is not there is told.",
        "            if name not in ours:\n                raise",
        '            if name == "":\n                raise',
    ),
    _frames(
        "frame-grows",
        "What does not shrink is stored as it is, as Borg does.",
        "if len(packed) - 4 >= len(data):",
        "if len(packed) - 4 > 2 * len(data):",
    ),
    _frames(
        "one-zstd-for-all",
        "Each thread has a compressor of its own.",
        "self._local: Any = threading.local()",
        'self._local: Any = type("Shared", (), {})()',
    ),
    of(
        "repository/frames.py",
        "integration/repository/test_conformance.py::test_chunks_are_those_of_stock_borg",
    )(
        "other-ids",
        "Ids are those that Borg would give.",
        'return lambda data: hmac.digest(key, data, "sha256")',
        'return lambda data: hmac.digest(key[:-1], data, "sha256")',
    ),
    _layout(
        "newer-layout-read",
        "An archive of a newer layout is refused, not guessed at.",
        "if isinstance(layout, int) and layout > LAYOUT:",
        "if isinstance(layout, int) and layout > LAYOUT + 1:",
    ),
    _layout(
        "foreign-comment",
        "A comment that is not ours is not ours.",
        '    if facts is None or facts.get("tool") != TOOL:\n        return None',
        "    if facts is None:\n        return None",
    ),
    _layout(
        "mark-forgotten",
        "An archive whose change tracking was found wrong stays marked when its comment is lost.",
        "marked=any(sample.mismatches for sample in samples if sample),",
        "marked=False,",
    ),
    _schema(
        "unknown-key",
        "A key that we do not know is refused: somebody's hand, or a newer layout.",
        'extra="forbid", frozen=True)',
        'extra="ignore", frozen=True)',
    ),
    _manifest(
        "path-outside",
        "A disk's path is the one of its id: nothing is written elsewhere.",
        "if self.path not in (disk_path(self.id), chain_path(self.id)):",
        "if not self.path:",
        survives="A manifest whose disks are not where its mode puts them is refused as a whole, too.",
    ),
    _manifest(
        "layer-path-outside",
        "So is a layer's.",
        "if layer.path != layer_path(self.id, layer.image_id):",
        "if not layer.path:",
    ),
    _manifest(
        "broken-chain",
        "The layers of a disk are one chain.",
        "if layer.parent != below:",
        "if layer.parent == layer.image_id:",
    ),
    _manifest(
        "disk-twice",
        "A disk is listed once.",
        "if len({disk.id for disk in self.disks}) != len(self.disks):",
        "if not self.disks and self.skipped:",
    ),
    _schema(
        "time-without-zone",
        "A time has a zone.",
        "    if when.tzinfo is None:\n        raise",
        "    if when is None:\n        raise",
    ),
    _names(
        "name-taken",
        "An archive's name is its own.",
        "    if name not in taken:\n        return name\n",
        "    return name\n",
    ),
    _names(
        "checkpoint-in-a-name",
        "No VM's name makes Borg take the archive for an unfinished one.",
        '    plain = re.sub(r"\\.+checkpoint", "-checkpoint", plain)\n',
        "",
    ),
    _names(
        "slash-in-a-name",
        "A name holds nothing that a shell, a URL or a pattern minds.",
        'r"[^A-Za-z0-9._]+"',
        'r"[^A-Za-z0-9._/]+"',
    ),
    _packed(
        "negative-index",
        "Chunks are counted from the end, too.",
        "(index % len(self)) * _ENTRY.size",
        "abs(index) * _ENTRY.size",
    ),
    _packed(
        "zeros-block",
        "Any chunk that is another one is found among long runs.",
        "if self._data[start * _ENTRY.size : stop * _ENTRY.size] != block[: (stop - start) * _ENTRY.size]:",
        "if self._data[start * _ENTRY.size :][: _ENTRY.size] != wanted:",
    ),
    _readme(
        "cursor-moved",
        "A name cannot move the cursor.",
        'return "".join(c if c.isprintable() else " " for c in text)',
        "return text",
    ),
    _readme(
        "quote-in-a-name",
        "A name cannot leave its quotes.",
        "_plain(text).replace(\"'\", \"'\\\\''\")",
        "_plain(text)",
    ),
    _retention(
        "no-rule-removes-all",
        "Without any rule nothing is removed.",
        "    if rules.empty:\n        raise",
        "    if False:\n        raise",
    ),
    _retention(
        "newest-good-removed",
        "The newest of those whose change tracking was right stays.",
        'for archive, why in ((good, "newest good"), (next(iter(whole), None), "newest")):',
        'for archive, why in ((next(iter(whole), None), "newest"),):',
    ),
    _retention(
        "newest-whole-removed",
        "The newest that can be restored stays.",
        'for archive, why in ((good, "newest good"), (next(iter(whole), None), "newest")):',
        'for archive, why in ((good, "newest good"),):',
    ),
    _retention(
        "damaged-one-counts",
        "A damaged archive is not the one that stays, and no rule counts it.",
        "whole = [a for a in newest_first if a.name not in damaged]",
        "whole = list(newest_first)",
    ),
    _retention(
        "damaged-newest-removed",
        "A damaged archive that is newer than all whole ones stays, for what is left of it.",
        "        if archive.name not in damaged:\n            break",
        "        break",
    ),
    _retention(
        "held-removed",
        "A held archive stays.",
        "        if archive.comment.held_at(now):\n            kept",
        "        if archive.comment.marked:\n            kept",
    ),
    _retention(
        "later-than-now-removed",
        "An archive of which nobody knows how old it is stays.",
        "        elif archive.name in series.adrift:",
        "        elif archive.name in ():",
    ),
    _retention(
        "later-than-now-counted",
        "And counts for no period.",
        "counted = [a for a in whole if a.name not in series.adrift]",
        "counted = whole",
    ),
    _series(
        "bare-times",
        "What numbers, bases and checkpoints tell of the order goes before any clock.",
        "    after = _known_order(by_name)\n    before",
        "    after: dict[str, set[str]] = {}\n    before",
    ),
    _series(
        "number-ignored",
        "The number that an archive got when it was committed tells its place.",
        "if older.comment.number != newer.comment.number:",
        "if False:",
    ),
    _series(
        "base-ignored",
        "An archive is younger than its base.",
        'for older_name in (info.comment.base, ends.get(info.comment.from_checkpoint or "")):',
        'for older_name in (ends.get(info.comment.from_checkpoint or ""),):',
    ),
    _series(
        "checkpoint-ignored",
        "And than the one whose checkpoint it starts from.",
        'for older_name in (info.comment.base, ends.get(info.comment.from_checkpoint or "")):',
        "for older_name in (info.comment.base,):",
    ),
    _series(
        "future-newest",
        "A time later than now counts for nothing.",
        "return (_FIRST if name in future else by_name[name].time, name)",
        "return (by_name[name].time, name)",
    ),
    _series(
        "engines-mixed",
        "VMs of two engines are two series, though their ids are equal.",
        "groups.setdefault((engine, info.comment.vm_id, info.comment.mode), [])",
        'groups.setdefault(("", info.comment.vm_id, info.comment.mode), [])',
    ),
    _series(
        "modes-mixed",
        "So are two modes.",
        "groups.setdefault((engine, info.comment.vm_id, info.comment.mode), [])",
        'groups.setdefault((engine, info.comment.vm_id, ""), [])',
    ),
    _series(
        "contradiction-hangs",
        "Archives that contradict each other are put in order all the same.",
        "            waiting.discard(first[1])\n            ready.append(first)",
        "            ready.append(first)",
    ),
    of("repository/packed.py", "unit/repository/test_packed.py")(
        "long-tail-on-the-grid",
        "A last chunk that is longer than the grid's is off it.",
        "return whole and (not len(self) or 0 < sizes[-1] <= size)",
        "return whole",
    ),
    of("repository/health.py", "unit/repository/test_health.py")(
        "damage-unseen",
        "An archive whose disk lost chunks is damaged.",
        "if reader.disk(path).damaged]",
        "if reader.disk(path) is None]",
    ),
    of("repository/health.py", "unit/repository/test_health.py")(
        "ovf-unread",
        "So is one whose OVF cannot be read.",
        "        reader.ovf  # noqa: B018  (reading it proves it)\n",
        "",
    ),
    of("repository/packed.py", "unit/repository/test_packed.py")(
        "off-the-grid",
        "A disk that others have cut anew is seen to be off the grid.",
        "whole = sizes[:-1].tobytes() == _SIZE.pack(size) * (len(self) - 1) if len(self) > 1 else True",
        "whole = True",
    ),
)
