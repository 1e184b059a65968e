"""What a tenant's store holds: small values by name."""

from __future__ import annotations

KEY = r"^[^\x00-\x1f\x7f/]{1,100}$"
"""What a key looks like: it is part of a path in the API."""
LONGEST_VALUE = 1000
"""Characters."""
