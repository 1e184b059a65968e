"""Pure functions: what the control plane decides from a question and the facts it has read."""
