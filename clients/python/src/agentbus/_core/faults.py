"""What is wrong with a value, for people and logs."""

from __future__ import annotations

from pydantic import ValidationError


def faults(error: ValidationError) -> str:
    """Where and what, without the value: that may be private."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}" for fault in error.errors(include_input=False)
    )
