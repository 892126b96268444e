"""What ranks report, as it is taken: one report replaces the one before it (it is not merged), but a checkpoint that
was saved stays saved.

The form is that of KEP-2779 (``progressPercentage``, ``estimatedRemainingSeconds``, ``metrics``), and more: ``step``,
``totalSteps``, ``group``, ``rank``, ``checkpointStep``, ``checkpointUri``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from mlplatform.apis.times import told_time
from mlplatform.apis.trainingstatus import Metric, ProgressStatus
from mlplatform.core.errors import Finding, InvalidInput

_MOST: Final = 2**53
#: The largest figure that is taken as a number; larger ones are infinite, or a joke.
_LARGE: Final = 1e300
_METRICS: Final = 64
_TEXT: Final = 64
_URI: Final = 2048


def accepted(before: ProgressStatus | None, report: Any, now: float) -> ProgressStatus | None:
    """The progress after a report; an empty one changes nothing.

    Args:
        before: what was reported last.
        report: decoded JSON of anybody's making.
        now: seconds since the epoch.

    Raises:
        InvalidInput: with a finding for each member that cannot be; nothing of the report is taken then.
    """
    findings: list[Finding] = []
    if not isinstance(report, Mapping):
        raise InvalidInput("a report is a JSON object", findings=[Finding("", "must be an object")])
    table = cast("Mapping[str, Any]", report)
    if not table:
        return before
    percent = _whole(table, "progressPercentage", findings, 100)
    step = _whole(table, "step", findings)
    total = _whole(table, "totalSteps", findings)
    left = _whole(table, "estimatedRemainingSeconds", findings)
    rank = _whole(table, "rank", findings, 4999)
    saved = _whole(table, "checkpointStep", findings)
    group = _text(table, "group", findings, 12)
    uri = _text(table, "checkpointUri", findings, _URI)
    metrics = _metrics(table.get("metrics"), findings)
    if step is not None and total is not None and step > total:
        findings.append(Finding("step", f"is beyond totalSteps ({total})"))
    if saved is not None and step is not None and saved > step:
        findings.append(Finding("checkpointStep", f"is beyond step ({step})"))
    if findings:
        raise InvalidInput("this is no report of progress", findings=findings)
    old = before or ProgressStatus()
    newer = saved is not None and (old.checkpoint_step is None or saved > old.checkpoint_step)
    return ProgressStatus(
        percent=percent,
        step=step,
        total_steps=total,
        eta_seconds=left,
        last_report_time=told_time(now),
        slowest_group=group,
        slowest_rank=rank,
        checkpoint_step=saved if newer else old.checkpoint_step,
        checkpoint_time=told_time(now) if newer else old.checkpoint_time,
        checkpoint_uri=uri if newer else old.checkpoint_uri,
        metrics=metrics,
    )


def _whole(table: Mapping[str, Any], name: str, findings: list[Finding], most: int = _MOST) -> int | None:
    value = table.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        findings.append(Finding(name, f"must be a whole number from 0 to {most}"))
        return None
    return value


def _text(table: Mapping[str, Any], name: str, findings: list[Finding], most: int) -> str:
    value = table.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        findings.append(Finding(name, f"must be a text of at most {most} characters"))
        return ""
    return value


def _metrics(value: Any, findings: list[Finding]) -> tuple[Metric, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(cast("list[Any]", value)) > _METRICS:
        findings.append(Finding("metrics", f"must be a list of at most {_METRICS}"))
        return ()
    found: list[Metric] = []
    for index, item in enumerate(cast("list[Any]", value)):
        path = f"metrics[{index}]"
        table: Mapping[str, Any] = cast("Mapping[str, Any]", item) if isinstance(item, Mapping) else {}
        name, told = table.get("name"), table.get("value")
        if isinstance(told, (int, float)) and not isinstance(told, bool):
            if not -_LARGE <= told <= _LARGE:  # what is not a number is not within it either
                findings.append(Finding(path, "has a value that is not a finite number"))
                continue
            told = str(told)
        if not isinstance(name, str) or not isinstance(told, str) or not name:
            findings.append(Finding(path, "must have a name and a value"))
        elif len(name) > _TEXT or len(told) > _TEXT:
            findings.append(Finding(path, f"has a name or a value of more than {_TEXT} characters"))
        else:
            found.append(Metric(name, told))
    return tuple(found)
