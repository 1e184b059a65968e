"""For all tests."""

from hypothesis import settings

# Machines are busy at times: how long an example takes says nothing.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
