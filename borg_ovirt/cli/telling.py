"""A run over the configuration, and those who are told how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from borg_ovirt.cli.output import Output

if TYPE_CHECKING:
    from borg_ovirt.config.notifying import Job
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.notify import Story


@contextmanager
def told(output: Output, config: Config, job: Job, *, active: bool = True) -> Iterator[Story]:
    """While this is entered the story is written; leaving it sends it, whatever ends the run.

    A message that cannot be sent is a warning here, and changes nothing of how the run ended. Not `active`:
    nobody waits for it, as for one archive by name, or a dry run.
    """
    from borg_ovirt.jobs.notify import Story, tell
    from borg_ovirt.jobs.runs.outcome import in_words
    from borg_ovirt.ovirt.tracked.journal import state_dir

    story = Story(job)
    try:
        yield story
    except (Exception, KeyboardInterrupt) as error:
        story.fail(in_words(error))
        raise
    finally:
        if active and config.notify:
            for problem in tell(config.notify, story, state_dir()):
                output.warn(problem)
