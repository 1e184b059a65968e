"""What dial plans may look up in the world outside: telephone numbers in DNS, and pages of hosts that were allowed."""
