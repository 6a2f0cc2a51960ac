"""When something that happens again and again happens next: five fields of cron, or a descriptor.

``minute hour day-of-month month day-of-week``, each ``*``, numbers, ranges, steps and lists of
these; months and days have names, 7 is Sunday too. Where both days are restricted, either will do.
``@hourly`` and its like stand for such fields; ``@every 90s`` counts from the last time.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta

__all__ = ["Schedule"]

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}  # fmt: skip
_EVERY = re.compile(r"@every\s+(?=\S)(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []), (0, 23, []), (1, 31, []), (1, 12, ["", *_MONTHS]), (0, 7, _DAYS),
)  # fmt: skip
_PART = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")
_MOST_YEARS = 9
"""A 29th of February may be eight years away."""


class Schedule:
    """One schedule. Raises: ValueError when ``text`` is none."""

    def __init__(self, text: str) -> None:
        self._every: timedelta | None = None
        text = text.strip()
        if text.startswith("@every"):
            self._every = _interval(text)
            return
        fields = _DESCRIPTORS.get(text.lower(), text).split()
        if len(fields) != len(_FIELDS):
            raise ValueError(f"{text[:64]!r} is no cron expression of five fields.")
        self._sets = [_numbers(f, *bounds) for f, bounds in zip(fields, _FIELDS, strict=True)]
        if 7 in self._sets[4]:
            self._sets[4].add(0)
        self._either_day = fields[2][0] not in "*?" and fields[4][0] not in "*?"
        if self.after(datetime(2024, 1, 1)) is None:
            raise ValueError(f"{text[:64]!r} never happens.")

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time later than ``moment``, ``None`` when there is none."""
        if self._every is not None:
            return moment + self._every
        minutes, hours, _, months, _ = self._sets
        at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        last = at.year + _MOST_YEARS
        while at.year < last:
            if at.month not in months:
                days = monthrange(at.year, at.month)[1]
                at = at.replace(day=1, hour=0, minute=0) + timedelta(days=days)
            elif not self._is_day(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in hours:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _is_day(self, at: datetime) -> bool:
        of_month = at.day in self._sets[2]
        of_week = at.isoweekday() % 7 in self._sets[4]
        return of_month or of_week if self._either_day else of_month and of_week


def _interval(text: str) -> timedelta:
    found = _EVERY.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    interval = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not interval:
        raise ValueError(f"{text[:64]!r} needs whole seconds, one at least, such as @every 1m30s.")
    return interval


def _numbers(field: str, low: int, high: int, names: list[str]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{field[:64]!r} is no field of a cron expression.")
        start, end, step = match.groups()
        if start in {"*", "?"}:
            if end:
                raise ValueError(f"{field[:64]!r} is no field of a cron expression.")
            first, last = low, min(high, 6) if names is _DAYS else high
        else:
            first = _number(start, names)
            last = _number(end, names) if end else high if step else first
        if not low <= first <= last <= high or step == "0":
            raise ValueError(f"{field[:64]!r} must be within {low} to {high}.")
        found.update(range(first, last + 1, int(step or 1)))
    return found


def _number(text: str, names: list[str]) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 4:
        return int(text)
    if text and text.lower() in names:
        return names.index(text.lower())
    raise ValueError(f"{text[:64]!r} is no number and no name that belongs here.")
