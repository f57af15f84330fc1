"""The JSON Schemas of the public values: what they are, and what was released."""
