"""The proxy and registrar front end without I/O: events in, actions out. See ``core``."""
