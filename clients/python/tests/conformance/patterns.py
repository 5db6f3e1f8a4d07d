"""Values and patterns of the cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

_NAME = re.compile(r"\$\{([^}]+)\}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Names = dict[str, Any]


class Mismatch(Exception):
    """A value does not match a pattern."""


def fill(value: Any, names: Names) -> Any:
    """The value with names and repetitions filled in."""
    if isinstance(value, str):
        whole = _NAME.fullmatch(value)
        return _lookup(whole[1], names) if whole else _NAME.sub(lambda match: str(_lookup(match[1], names)), value)
    if isinstance(value, list):
        return [fill(each, names) for each in value]
    if isinstance(value, dict):
        if "$times" in value:
            return [fill(value["of"], {**names, "i": i}) for i in range(value["$times"])]
        if "$text" in value:
            return value["$text"] * value["times"]
        return {name: fill(each, names) for name, each in value.items()}
    return value


def _lookup(path: str, names: Names) -> Any:
    value: Any = names
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def match(pattern: Any, value: Any, names: Names, where: str = "result") -> None:
    """Raises Mismatch unless the value matches. Binds names."""
    if isinstance(pattern, dict):
        special = next((name for name in pattern if name.startswith("$")), None)
        if special is not None:
            _special(special, pattern, value, names, where)
            return
        _expect(isinstance(value, dict), where, "an object", value)
        for name, each in pattern.items():
            if each == "$absent":
                _expect(value.get(name) is None, f"{where}.{name}", "nothing", value.get(name))
            else:
                _expect(name in value, f"{where}.{name}", "a member", value)
                match(each, value[name], names, f"{where}.{name}")
    elif isinstance(pattern, list):
        _length(len(pattern), value, where)
        for index, each in enumerate(pattern):
            match(each, value[index], names, f"{where}.{index}")
    elif isinstance(pattern, str) and pattern.startswith("$"):
        if pattern not in _KINDS:
            raise Mismatch(f"the runner does not know the pattern {pattern}")
        _expect(_KINDS[pattern](value), where, pattern, value)
    else:
        same = pattern == value and isinstance(pattern, bool) == isinstance(value, bool)
        _expect(same, where, repr(pattern), value)


def _special(name: str, pattern: dict[str, Any], value: Any, names: Names, where: str) -> None:
    wanted = pattern[name]
    if name == "$bind":
        match(pattern.get("is", "$any"), value, names, where)
        names[wanted] = value
    elif name == "$has":
        _expect(isinstance(value, str) and wanted in value, where, f"a text with {wanted!r}", value)
    elif name == "$length":
        _length(wanted, value, where)
    elif name == "$includes":
        for each in wanted:
            _expect(any(_matches(each, element, names) for element in value), where, f"an element like {each}", value)
    elif name == "$excludes":
        found = any(_matches(wanted, element, names) for element in value)
        _expect(not found, where, f"no element like {wanted}", value)
    elif name == "$unordered":
        _length(len(wanted), value, where)
        left = list(value)
        for each in wanted:
            found_at = next((i for i, element in enumerate(left) if _matches(each, element, names)), None)
            if found_at is None:
                raise Mismatch(f"{where}: no element like {each} in {left}")
            del left[found_at]
    else:
        raise Mismatch(f"the runner does not know the pattern {name}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    # Python 3.10 does not read a Z.
    return isinstance(value, str) and datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None


_KINDS: dict[str, Callable[[Any], bool]] = {
    "$any": lambda _: True,
    "$string": lambda value: isinstance(value, str),
    "$number": _is_number,
    "$object": lambda value: isinstance(value, dict),
    "$seq": lambda value: _is_number(value) and value > 0 and value == int(value),
    "$uuid": lambda value: isinstance(value, str) and _UUID.fullmatch(value) is not None,
    "$time": _is_time,
}


def _matches(pattern: Any, value: Any, names: Names) -> bool:
    try:
        match(pattern, value, names)
    except Mismatch:
        return False
    return True


def _length(wanted: int, value: Any, where: str) -> None:
    _expect(isinstance(value, list) and len(value) == wanted, where, f"{wanted} elements", value)


def _expect(holds: bool, where: str, wanted: str, value: Any) -> None:
    if not holds:
        raise Mismatch(f"{where}: wanted {wanted}, not {str(value)[:500]}")
