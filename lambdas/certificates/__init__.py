"""Getting certificates from an authority and renewing them; imported where that is done, and nowhere else."""
