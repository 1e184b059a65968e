"""What one run of a script may use. docs/dialplans.md states them, and a test compares."""

CPU = 0.08
"""Seconds of processor time, after which the interpreter is told to stop."""
CPU_HARD = 0.1
"""When the kernel ends it: within one operation of the interpreter nobody is asked. It counts by ticks, and on a
busy machine may well come first."""
TOO_MUCH_TIME = f"it took more than {CPU * 1000:.0f} ms of processor time"
"""Said of either."""
WALL = 2.5
"""Seconds in all, waiting for what it has asked for included."""
MEMORY = 48 * 1024 * 1024
"""Octets, beside the interpreter's own."""
STACK = 60
"""Calls of functions within each other."""
RESULT = 64 * 1024
"""Octets of what it returns."""
LOG_LINES, LOG_LINE = 20, 500
"""Lines of log, and characters in one."""
QUESTIONS = 20
"""Questions to the service: registrations, store, ENUM, pages."""

AT_ONCE, AT_ONCE_FOR_ONE = 8, 3
"""Runs at once in one process of the control plane, and for one tenant."""
WAIT = 0.5
"""Seconds that a run waits for its turn."""
