"""What the ranks of a job report, read from the files they leave it in."""

from __future__ import annotations

from collections.abc import Mapping

from mlplatform.apis.trainingjob import TrainingJobSpec
from mlplatform.apis.trainingstatus import ProgressStatus
from mlplatform.core.errors import InvalidInput
from mlplatform.engine.files import read_json
from mlplatform.engine.training.places import JobPlace
from mlplatform.planning.training.facts import Ledger, RankFact, RankKey
from mlplatform.planning.training.reports import APART, Said, gathered, taken, with_checkpoint


class Hearing:
    """Remembers what each rank said last; what a new one does not know it reads again."""

    def __init__(self, place: JobPlace) -> None:
        self._place = place
        self._said: dict[RankKey, Said] = {}
        self._read: dict[RankKey, int] = {}

    def progress(
        self,
        before: ProgressStatus | None,
        spec: TrainingJobSpec,
        facts: Mapping[RankKey, RankFact],
        ledger: Ledger | None,
        now: float,
    ) -> ProgressStatus | None:
        """The job's progress with all that was said since it was asked last; ``before`` itself where nothing was."""
        news = [key for key in facts if self._hear(key, before, now)]
        self._said = {key: said for key, said in self._said.items() if key in facts}
        if not news or ledger is None:
            return before
        apart = frozenset(group.name for group in spec.groups if group.role in APART)
        each = 0
        if spec.checkpoint is not None and spec.checkpoint.scope == "Rank":
            each = sum(group.replicas for group in spec.groups if group.name not in apart)
        wanted = {key: said for key, said in self._said.items() if key.attempt == ledger.wanted(key.group, key.rank)}
        # Those of the last attempt that save while they stop have something to tell, too.
        before = with_checkpoint(before, self._said.values(), each)
        working = [said for key, said in wanted.items() if (key.group, key.rank) not in ledger.done]
        return gathered(before, working or list(wanted.values()), apart, each) if wanted else before

    def _hear(self, key: RankKey, before: ProgressStatus | None, now: float) -> bool:
        path = self._place.rank(key).progress
        try:
            found = path.stat()
        except OSError:
            return False
        if self._read.get(key) == found.st_mtime_ns:
            return False
        self._read[key] = found.st_mtime_ns
        try:
            # When it was written, not when it was found: nobody may have looked for a while.
            said = taken(self._said.get(key), before, key, read_json(path), min(now, round(found.st_mtime, 3)))
        except InvalidInput:
            return False  # nothing of it is taken
        if said is not None:
            self._said[key] = said
        return said is not None
