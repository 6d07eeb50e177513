"""Breakages of the configuration: a typing error must not become a silent default."""

from __future__ import annotations

from mutants.mutant import of

_load = of("config/load.py", "unit/config/test_load.py")
_secrets = of("config/secrets.py", "unit/config/test_secrets.py")
_select = of("config/select.py", "unit/config/test_select.py")
_settings = of("config/settings.py", "unit/config/test_settings.py")
_schema = of("config/schema.py", "unit/config/test_load.py")
_connections = of("config/connections.py", "unit/config/test_load.py")
_types = of("config/types.py", "unit/config/test_load.py")

MUTANTS = (
    of("config/section.py", "unit/config/test_load.py")(
        "unknown-key",
        "A key that nobody knows is refused.",
        'extra="forbid"',
        'extra="ignore"',
    ),
    _load(
        "key-twice",
        "A key that is written twice is refused.",
        "            if below in self._lines:",
        "            if below in ():",
    ),
    _load(
        "named-file-missing",
        "A file that was named has to exist.",
        "        if not path.is_file():\n            raise",
        "        if path.is_dir():\n            raise",
    ),
    _load(
        "number-for-a-word",
        "What was typed is taken as it is: `16:30` and `no` are words.",
        "        return node.value\n\n    def _mapping",
        "        return yaml.safe_load(node.value)\n\n    def _mapping",
    ),
    _load(
        "wrong-line",
        "A mistake is told with its line.",
        "line = node.start_mark.line + 1\n",
        "line = node.start_mark.line\n",
    ),
    _load(
        "setting-ignored",
        "What --set says goes before the file.",
        "        section[key[-1]] = value",
        "        section.setdefault(key[-1], value)",
    ),
    _load(
        "user-after-system",
        "The user's file goes before the system's.",
        "for path in (user_file, SYSTEM_FILE) if",
        "for path in (SYSTEM_FILE, user_file) if",
    ),
    _load(
        "alias-of-itself",
        "An alias that refers to itself is told, not followed.",
        "        if len(key) > _DEEPEST:",
        "        if len(key) > 100 * _DEEPEST:",
    ),
    _load(
        "aliases-without-end",
        "So are aliases that make a page of a line a gigabyte.",
        "        if self._left < 0:\n            raise InvalidConfig",
        "        if not key and self._left < 0:\n            raise InvalidConfig",
    ),
    _secrets(
        "empty-secret",
        "An empty secret is an error.",
        "        if not secret:\n            raise",
        "        if secret is None:\n            raise",
    ),
    _secrets(
        "secret-not-remembered",
        "A secret is hidden from the moment it is read.",
        "        remember(secret)\n",
        "",
    ),
    _secrets(
        "failed-command-believed",
        "What a command prints that fails is no secret.",
        "    if done.returncode:\n        raise",
        "    if done.returncode < 0:\n        raise",
    ),
    _secrets(
        "command-in-a-shell",
        "No shell runs for a command.",
        "words = shlex.split(command) if isinstance(command, str) else list(command)",
        'words = ["sh", "-c", command] if isinstance(command, str) else list(command)',
    ),
    _secrets(
        "whole-file-for-a-secret",
        "A secret is one line.",
        'return text.splitlines()[0] if text else ""',
        "return text",
    ),
    _select(
        "exclude-ignored",
        "What is excluded is left out, whatever includes it.",
        " and not fits(exclude, vm, searches)",
        "",
    ),
    _select(
        "empty-include-is-nothing",
        "Nothing included means every VM.",
        "(include.empty or fits(include, vm, searches))",
        "fits(include, vm, searches)",
    ),
    _select(
        "override-resets-policy",
        "An override changes only the keys that it writes.",
        "    for key in special.model_fields_set:",
        "    for key in type(special).model_fields:",
    ),
    _select(
        "disks-of-the-last-override",
        "Disks to leave out add up.",
        "aliases=[*first.aliases, *second.aliases],",
        "aliases=[*second.aliases],",
    ),
    _select(
        "search-unasked",
        "Each search of the rules is asked.",
        "rules = [config.vms.include, config.vms.exclude, *(override.vms for override in config.overrides)]",
        "rules = [config.vms.include, config.vms.exclude]",
    ),
    _settings(
        "password-for-another-engine",
        "The password of one engine is never sent to another.",
        '    if not name and asked_url and _host(asked_url) != _host(written.url or ""):',
        "    if not name and asked_url and not written.url:",
    ),
    _settings(
        "configuration-over-command-line",
        "The command line goes before environment and configuration.",
        "else [given, variables, written]",
        "else [written, variables, given]",
    ),
    _settings(
        "environment-last",
        "The environment goes before the configuration.",
        "else [given, variables, written]",
        "else [given, written, variables]",
    ),
    _settings(
        "any-engine",
        "Of several engines none is guessed.",
        "        if config.engines and needed:\n            raise",
        "        if False:\n            raise",
    ),
    _settings(
        "options-after-configuration",
        "Options go before the configured repository.",
        "return replace(settings, **{key: value for key, value in overrides.items() if value is not None})",
        "return replace(settings, **{k: v for k, v in overrides.items() if getattr(settings, k) is None})",
    ),
    _connections(
        "two-secrets",
        "Of two places of a secret none is guessed.",
        "    if len(given) > 1:\n        raise",
        "    if len(given) > 9:\n        raise",
    ),
    _connections(
        "odd-chunk-size",
        "Chunks are of a size that Borg stores well.",
        "if value & (value - 1) or not 1 << 16 <= value <= 1 << 24:",
        "if value & (value - 1):",
    ),
    _connections(
        "path-for-pem",
        "A path in place of a certificate is told.",
        'if value is not None and "-----BEGIN CERTIFICATE-----" not in value:',
        "if value is None:",
    ),
    _schema(
        "override-of-all",
        "An override names its VMs.",
        "        if self.vms.empty:\n            raise",
        "        if self.vms is None:\n            raise",
    ),
    _schema(
        "default-engine-unknown",
        "The default engine is one that is there.",
        "if self.default_engine is not None and self.default_engine not in self.engines:",
        "if self.default_engine is not None and not self.engines:",
    ),
    _types(
        "share-for-bytes",
        "`10%` of free room is a share.",
        "return Room(share=parse_share(text)) if",
        'return Room(size=parse_size(text.rstrip().removesuffix("%"))) if',
    ),
)
