"""What a process has, one object for each subject, and what it remembers between requests."""
