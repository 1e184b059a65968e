"""Names of domains and hosts."""

from __future__ import annotations


def domain_name(text: str) -> str:
    """As it is stored. Raises ValueError."""
    name = text.strip().lower().rstrip(".")
    labels = name.split(".")
    if len(name) > 253 or not all(
        0 < len(label) <= 63 and label.strip("-") == label and label.replace("-", "").isalnum() and label.isascii()
        for label in labels
    ):
        raise ValueError("not a domain name (write international names in their xn-- form)")
    if len(labels) < 2 or labels[-1].isdecimal():
        # An edge's address means the default domain, whoever asks.
        raise ValueError("a domain name has at least two labels, and an IP address is none")
    return name
