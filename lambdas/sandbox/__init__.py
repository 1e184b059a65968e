"""Running people's scripts where they can hurt nobody: each in a process of its own that has nothing and may do
nothing, for a tenth of a second."""
