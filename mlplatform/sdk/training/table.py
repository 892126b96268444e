"""A training job in a notebook's output: static HTML, so that it is there in a saved notebook too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from mlplatform.planning.training.view import RankView, job_detail

#: Ranks that are shown; of more, those that do not work come first.
SHOWN: Final = 64
_SIGNS: Final = {
    "Absent": "○",
    "Pending": "◷",
    "Starting": "◐",
    "Running": "◐",
    "Stopping": "◐",
    "Succeeded": "●",
    "Failed": "✕",
}
_STYLE: Final = "border-collapse:collapse;font-variant-numeric:tabular-nums"
_CELL: Final = "text-align:left;padding:2px 14px 2px 0;border:0"


def job_html(body: Mapping[str, Any], ranks: Iterable[RankView], now: float) -> str:
    """The job's state, progress and goodput, a row for each rank, and why attempts ended."""
    job = job_detail(body, ranks, now)
    rows = sorted(job["rank_rows"], key=lambda row: row["state"] in ("Running", "Succeeded"))
    rows = rows[:SHOWN] if len(rows) > SHOWN else job["rank_rows"]
    more = len(job["rank_rows"]) - len(rows)
    parts = [
        f"<p><b>{escape(job['name'])}</b> {escape(job['phase'].lower())}{_facts(job)}</p>",
        f"<p>{escape(job['message'])}</p>" if job["message"] else "",
        _table(("rank", "state", "attempt", "exit", "where", "why"), [_rank(row) for row in rows]),
        f"<p>and {more} more ranks</p>" if more else "",
        _attempts(job["attempts"]),
    ]
    return f"<div>{''.join(parts)}</div>"


def _facts(job: Mapping[str, Any]) -> str:
    facts: list[str] = []
    if job["step"] is not None:
        facts.append(f"step {job['step']}" + (f" of {job['total_steps']}" if job["total_steps"] is not None else ""))
    facts += [f"{name} {value[:12]}" for name, value in job["metrics"].items()]
    if job["checkpoint_step"] is not None:
        facts.append(f"checkpoint at step {job['checkpoint_step']}")
    if job["restarts"]:
        facts.append(f"{job['restarts']} restart{'s' if job['restarts'] != 1 else ''}")
    if job["goodput"] and job["goodput"]["wall_seconds"]:
        facts.append(f"goodput {job['goodput']['percent']}%")
    return "".join(f" · {escape(fact)}" for fact in facts)


def _rank(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['group']}-{row['rank']}",
        f"{_SIGNS.get(row['state'], '')} {row['state'].lower()}",
        str(row["attempt"] or ""),
        "" if row["exit_code"] is None else str(row["exit_code"]),
        row["node"],
        row["message"],
    )


def _attempts(attempts: list[dict[str, Any]]) -> str:
    """Only where one of them ended badly: else the table of ranks says it all."""
    if len(attempts) < 2 and not any(one["reason"] not in ("", "Completed") for one in attempts):
        return ""
    rows = [
        (
            str(one["number"]),
            "" if one["resumed_from_step"] is None else str(one["resumed_from_step"]),
            one["reason"],
            "" if one["rank"] is None else f"{one['group']}-{one['rank']}",
            one["message"],
        )
        for one in attempts
    ]
    return _table(("attempt", "from step", "ended by", "first rank", "message"), rows)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(word)}</th>' for word in heads)
    lines = ("".join(f'<td style="{_CELL}">{escape(word)}</td>' for word in row) for row in rows)
    return f'<table style="{_STYLE}"><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'
