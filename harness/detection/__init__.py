"""The parts of the detector: where scripts end, what Markdown hides, and where in the text all this is."""
