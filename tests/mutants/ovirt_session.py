"""Breakages of the session with the engine: login, certificates, patience, and what is understood."""

from __future__ import annotations

from mutants.mutant import of

_SESSION = "unit/ovirt/session/test_session_scripted.py"
_FACTS = "unit/ovirt/facts/test_facts_scripted.py"

_web = of("ovirt/session/web.py", _SESSION)
_engine = of("ovirt/session/engine.py", _SESSION)
_trouble = of("ovirt/session/trouble.py", _SESSION)
_faults = of("ovirt/session/faults.py", _SESSION)
_ca = of("ovirt/session/ca.py", _SESSION)
_events = of("ovirt/session/events.py", _SESSION)
_sense = of("ovirt/session/sense.py", "unit/ovirt/session/test_sense.py")

MUTANTS = (
    _sense(
        "another-kind-taken",
        "An answer of another kind than was asked for is refused.",
        "    if found != expected:\n",
        "    if not found:\n",
    ),
    _sense(
        "paths-as-ids",
        "An id that could be a path is none.",
        "not _ID.fullmatch(value)",
        "not _ID.match(value)",
    ),
    _web(
        "login-without-verification",
        "No password goes to an engine for which no CA vouches.",
        "verify=False if unproven else ca_file or _system_store(),",
        "verify=False,",
    ),
    _web(
        "redirect-followed",
        "No redirect takes a form with a password elsewhere.",
        "allow_redirects=False,",
        "allow_redirects=True,",
    ),
    _engine(
        "asked-again-blindly",
        "What must not be done twice is not asked twice.",
        "if verdict.reached and once:",
        "if verdict.reached and once and not what:",
    ),
    _trouble(
        "restart-not-sat-out",
        "An engine that is away for a while is asked again.",
        "        return now + pause - self._alive > self._patience.engine\n\n    def final",
        "        return now + pause - self._alive > 0.0\n\n    def final",
    ),
    _trouble(
        "every-lock-waited-out",
        "Somebody's lock is waited out only where that is asked.",
        "if now + pause - self._since > self._seconds:",
        "if now + pause - self._since > max(self._seconds, 1.0):",
    ),
    _trouble(
        "no-lock-waited-out",
        "And it is, where it is asked.",
        "        if not is_lock(error):\n",
        "        if error:\n",
    ),
    _engine(
        "login-of-each-thread",
        "Threads share one login.",
        "if self._token is None or self._token == stale:",
        "if self._token != stale or stale is None:",
    ),
    _engine(
        "no-logout",
        "The session is ended: an engine allows a user only so many.",
        "            sso.log_out(self.access.api_url, self._token, self._ca_file, self.access.timeout)\n",
        "",
    ),
    _engine(
        "ca-left-behind",
        "A CA given as text leaves no file.",
        "            Path(self._ca_file).unlink(missing_ok=True)\n",
        "",
    ),
    _engine(
        "password-in-repr",
        "A password does not show.",
        "password: str = field(repr=False)",
        "password: str",
    ),
    _faults(
        "any-refusal-is-a-lock",
        "Only a lock is a lock.",
        "error.status == 409 and bool(_LOCKED.search(error.detail))",
        "error.status == 409",
    ),
    _faults(
        "sessions-without-end",
        "A user of too many sessions is not logged in once more.",
        "    if not sentence or _UNKNOWN_TOKEN.match(sentence):",
        "    if True:",
    ),
    _faults(
        "503-is-unclear",
        "A 503 comes from in front of the engine: nothing was done.",
        "Ill.HICCUP if status == 500 else Ill.AWAY, status != 503)",
        "Ill.HICCUP if status == 500 else Ill.AWAY, True)",
    ),
    _faults(
        "forbidden-is-passing",
        "What the user may not do is not asked again.",
        'return Verdict(NotAuthorized(f"Cannot {what}: {detail}", hint_for(what)), Ill.NO, False)',
        'return Verdict(NotAuthorized(f"Cannot {what}: {detail}", hint_for(what)), Ill.HICCUP, True)',
    ),
    _ca(
        "ca-believed",
        "A CA is believed only by its fingerprint.",
        'if wanted != fetched.fingerprint.replace(":", ""):',
        'if len(wanted) != len(fetched.fingerprint.replace(":", "")):',
    ),
    _ca(
        "ca-replaced",
        "A file that exists is not replaced.",
        'with target.open("x", encoding="ascii") as out:',
        'with target.open("w", encoding="ascii") as out:',
    ),
    _events(
        "older-events-count",
        "Only what came after the mark counts.",
        "and _index(event) > self._index",
        "and _index(event) >= self._index",
    ),
    _events(
        "events-of-others-count",
        "Only what concerns the VM counts.",
        "and (vm_id is None or event.vm is None or event.vm.id == vm_id)",
        "",
    ),
    _events(
        "same-event-again",
        "An event that the engine has already is told under another number.",
        "            custom_id, taken = _new_id(), taken + 1",
        "            taken = taken + 1",
    ),
    of("ovirt/session/sense.py", "unit/fuzz/test_fuzz.py")(
        "answer-without-end",
        "An answer without an end is broken off.",
        "        if self._left < 0:",
        "        if self._left == 1:",
    ),
    of("ovirt/session/sense.py", "unit/ovirt/session/test_sense.py")(
        "cut-answer-believed",
        "An answer that was cut off is none.",
        "        parser.Parse(body, True)",
        "        parser.Parse(body, False)",
    ),
    of("ovirt/session/sense.py", _SESSION)(
        "object-without-id",
        "An object that is told by its id has one.",
        "not isinstance(one, types.Action) and not one.id:",
        "not isinstance(one, types.Action) and one.id == 0:",
    ),
    of("ovirt/session/sense.py", _FACTS)(
        "negative-size",
        "A size is one.",
        "    if not 0 <= found < 1 << 63:",
        "    if not found < 1 << 99:",
    ),
    of("ovirt/session/waiting.py", _SESSION)(
        "waits-for-ever",
        "Waiting ends.",
        "                if left <= 0:\n                    break",
        "                if left <= -9999:\n                    break",
    ),
)
