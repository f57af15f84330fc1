"""What the text of a script says, read from its syntax tree; nothing here knows blocks, tools or limits."""
