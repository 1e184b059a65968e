"""SIP without I/O: messages, their grammar, digest access authentication, transactions. Standard library only."""
