"""What the SIP layer raises about values; of whole messages ``MalformedMessage`` tells (edge/sip/message.py)."""


class ParseError(ValueError):
    """A URI or header value, or a message, that doesn't follow RFC 3261 §25."""
