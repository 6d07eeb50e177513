"""Breakages of the command line: words, secrets, signals."""

from __future__ import annotations

from mutants.mutant import of

_OUTPUT = "unit/cli/test_output.py"
_BOUNDARY = "unit/cli/test_boundary.py"
_CONNECT = "unit/cli/test_connect.py"

_output = of("cli/output.py", _OUTPUT)
_boundary = of("cli/boundary.py", _BOUNDARY)
_signals = of("cli/signals.py", "unit/cli/test_signals.py")
_location = of("cli/location.py", "unit/cli/test_location.py")
_connect = of("cli/connect.py", _CONNECT)
_redact = of("redact.py", "unit/test_redact.py")
_terminal = of("terminal.py", f"{_BOUNDARY} unit/cli/test_streams.py")
_streams = of("streams.py", "unit/cli/test_streams.py")
_passphrase = of("repository/passphrase.py", _CONNECT)
_limits = of("cli/limits.py", _BOUNDARY)
_rollback = of("cli/rollback.py", "unit/cli/test_light.py")
_init = of("cli/init_role.py", "integration/first/test_init.py")
_roles = of("ovirt/make/roles.py", "integration/first/test_init.py")

MUTANTS = (
    _rollback(
        "help-needs-borg",
        "Pages are made with click alone.",
        "from borg_ovirt.jobs.restore.options import RollbackOptions",
        "from borg_ovirt.jobs.restore.options import RollbackOptions\nfrom borg_ovirt.jobs.restore.rollback import Rollback as _",
    ),
    _init(
        "missing-rights-untold",
        "`init` tells which rights are missing, and how they are given.",
        "    if lacking:\n",
        "    if not lacking:\n",
    ),
    _roles(
        "role-made-twice",
        "A role whose making was not answered is looked for.",
        "        except Unclear:\n            continue\n",
        '        except Unclear:\n            engine.call(f"make the {what}", add, once=True)\n',
    ),
    _roles(
        "permission-anywhere",
        "Only the same permission of the same user is there already.",
        "(one.role.id, one.user.id) == (role_id, user_id)",
        "one.role.id == role_id",
    ),
    _limits(
        "few-files-begin",
        "With too few open files nothing is begun.",
        "    if may < _LEAST:\n",
        "    if not may:\n",
    ),
    _boundary(
        "empty-words",
        "A variable that is not set is no value.",
        "        if not word or (",
        "        if (",
    ),
    _output(
        "table-with-secrets",
        "No secret is in a table.",
        "[[shown(cell) for cell in row] for row in rows]",
        "[list(row) for row in rows]",
    ),
    _output(
        "result-with-secrets",
        "None is in the JSON of a result.",
        "print(json_text(json.loads(json.dumps(value, default=plain)), indent=2))",
        "print(json.dumps(value, default=plain, indent=2))",
    ),
    _output(
        "lines-with-secrets",
        "None is in a result in words.",
        "            text = shown(line)",
        "            text = line",
    ),
    _output(
        "message-with-secrets",
        "None is in a message.",
        'text = render(f"borg-ovirt: {prefix}{text}")',
        'text = f"borg-ovirt: {prefix}{text}"',
    ),
    _output(
        "log-with-secrets",
        "None is in the log, Borg's and the SDK's too.",
        'text = shown(f"borg-ovirt: {prefix}{record.getMessage()}")',
        'text = f"borg-ovirt: {prefix}{record.getMessage()}"',
    ),
    _output(
        "traceback-with-secrets",
        "Nor in a traceback.",
        'text += "\\n" + shown_lines(self.formatException(record.exc_info))',
        'text += "\\n" + self.formatException(record.exc_info)',
    ),
    _output(
        "json-log-with-secrets",
        "Nor in a log of JSON lines.",
        'return json_text({**line, "msgid": msgid} if msgid else line)',
        'return json.dumps({**line, "msgid": msgid} if msgid else line)',
    ),
    _output(
        "json-message-with-secrets",
        "Nor in a message of JSON.",
        "text = json_text(line)",
        "text = json.dumps(line)",
    ),
    _output(
        "hidden-field-printed",
        "A field that does not show itself is in no JSON.",
        "for f in dataclasses.fields(value) if f.repr}",
        "for f in dataclasses.fields(value)}",
    ),
    _output(
        "words-on-stdout",
        "Standard output is for results alone.",
        "print(text, file=sys.stderr, flush=True)",
        "print(text, flush=True)",
    ),
    _boundary(
        "error-of-two-lines",
        "An error is one line.",
        "output.error(error.message, error.hint, error.exit_code)",
        'output.tell(error.message + "\\n" + (error.hint or ""))',
    ),
    _boundary(
        "same-code-for-all",
        "Each cause has its exit status.",
        "        output.error(error.message, error.hint, error.exit_code)\n        return error.exit_code",
        "        output.error(error.message, error.hint, error.exit_code)\n        return EXIT_ERROR",
    ),
    _boundary(
        "warning-is-success",
        "A warning has an exit status of its own.",
        "return status if isinstance(status, int) else 0",
        "return 0",
    ),
    _boundary(
        "traceback-for-all",
        "A traceback is for --debug.",
        "    if output.debug:\n        output.traceback(",
        "    if True:\n        output.traceback(",
    ),
    _boundary(
        "any-broken-pipe-is-silence",
        "Only a reader that left is no error: a full disk under the output is one.",
        "left = lost.errno in _READER_LEFT",
        "left = True",
    ),
    _boundary(
        "done-work-undone",
        "Work that was done is done, whoever reads of it.",
        "    if output.changes:\n",
        "    if not output.changes:\n",
    ),
    _boundary(
        "one-for-a-fault",
        "Exit status 1 is left to commands that did their work.",
        "return max(error.exit_code, EXIT_ERROR)",
        "return error.exit_code",
    ),
    _terminal(
        "terminal-steered",
        "Nothing that others wrote steers the terminal.",
        "    if text.isprintable():\n        return text\n",
        "    if text:\n        return text\n",
    ),
    _terminal(
        "text-reordered",
        "Nor hides or reorders text.",
        '_STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}',
        '_STEERING = {"Cc", "Cs"}',
    ),
    _streams(
        "closed-descriptor-left",
        "No file is opened in the place of a closed standard stream.",
        "            os.fstat(number)\n",
        "            number < 0 and os.fstat(number)\n",
    ),
    _streams(
        "lost-result-unnoticed",
        "What could not be written is told.",
        "self.lost = self.lost or error",
        "self.lost = None",
    ),
    _signals(
        "second-signal-ignored",
        "A second signal ends the process at once.",
        "            os._exit(128 + number)",
        "            return",
    ),
    _signals(
        "signal-swallowed-by-except",
        "No `except Exception` swallows the wish to end.",
        "class SignalReceived(KeyboardInterrupt):",
        "class SignalReceived(Exception):",
    ),
    _signals(
        "nohup-overruled",
        "A job under nohup keeps ignoring the hang-up.",
        "        if previous is not signal.SIG_IGN:",
        "        if True:",
    ),
    _signals(
        "handlers-kept",
        "Handlers are put back.",
        "        for number, previous in before.items():\n            signal.signal(number, previous)",
        "        for number, previous in before.items():\n            signal.getsignal(number)",
    ),
    _location(
        "split-in-an-address",
        "An IPv6 address is not split.",
        'masked = _BRACKETS.sub(lambda match: "x" * len(match[0]), text)',
        "masked = text",
    ),
    _location(
        "split-in-a-path",
        "A name holds no slash.",
        'if cut < 0 or "/" in name:',
        "if cut < 0:",
    ),
    _connect(
        "configured-over-environment",
        "Borg's own variables go before the configured passphrase.",
        "    if source is None or _told_to_borg():\n        yield",
        "    if source is None:\n        yield",
    ),
    _connect(
        "configured-over-environment-of-a-run",
        "In a run, too.",
        "        elif from_borg:\n            source = None\n",
        "",
    ),
    _passphrase(
        "passphrase-left-in-the-environment",
        "The configured passphrase leaves the environment again.",
        '        os.environ.pop("BORG_PASSPHRASE_FD", None)\n',
        "",
    ),
    _passphrase(
        "passphrase-of-another-repository",
        "Each repository is opened with its own passphrase.",
        "if read_once.pop(str(reading), None) is None:",
        "if read_once.get(str(reading)) is None:",
    ),
    _connect(
        "repository-twice",
        "A repository that is named twice is refused.",
        "        if locations.count(location) > 1:",
        "        if locations.count(location) > 2:",
    ),
    _connect(
        "limit-of-nothing",
        "A small upload limit is no limit of zero, which Borg takes for none.",
        "max(rate // KiB, 1)",
        "rate // KiB",
    ),
    _redact(
        "ticket-shown",
        "The id of a transfer is never shown.",
        '(re.compile(rf"(/(?:images|tickets)/){_UUID}"), rf"\\1{HIDDEN}"),',
        "",
    ),
    _redact(
        "token-shown",
        "Nor a token.",
        "(bearer|basic)\\s+",
        "(basic)\\s+",
    ),
    _redact(
        "url-password-shown",
        "Nor a password in a URL.",
        '(re.compile(r"(\\b[a-z][a-z0-9+.-]*://[^/\\s:@]+):[^/\\s]+@"), rf"\\1:{HIDDEN}@"),',
        "",
    ),
    _redact(
        "assignment-shown",
        "Nor in NAME=VALUE, whatever stands before the name.",
        'rf"(?i)({_NAME}\\s?=\\s?)(?:{_QUOTED}|[^\\s&\'\\"}}]+)"',
        'rf"(?i)\\b({_NAME}\\s?=\\s?)(?:{_QUOTED}|[^\\s&\'\\"}}]+)"',
    ),
    _redact(
        "value-of-a-secret-key-shown",
        "Nor under a key of JSON that says what it is.",
        "isinstance(key, str) and _SECRET_KEY.fullmatch(key)",
        "isinstance(key, str) and _SECRET_KEY is None",
    ),
    _redact(
        "known-secret-shown",
        "A secret that was read is hidden wherever it turns up.",
        "        text = text.replace(secret, HIDDEN)",
        "        pass",
    ),
    _redact(
        "part-of-a-secret-shown",
        "The longest secret is hidden first: nothing of it is left over.",
        "sorted(_known, key=len, reverse=True)",
        "sorted(_known, key=len)",
    ),
    _redact(
        "every-letter-hidden",
        "A secret of a letter does not blot out the text.",
        "if len(secret) >= _SHORTEST_KNOWN:",
        "if secret:",
    ),
)
