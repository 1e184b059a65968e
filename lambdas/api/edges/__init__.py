"""What edges ask and report."""
