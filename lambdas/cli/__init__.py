"""The daily jobs on the command line, by the provisioning API: whatever it can do here, a program can do there."""
