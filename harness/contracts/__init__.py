"""What tools promise, over time: contracts as values, what changed between two of them, and whom that breaks."""
