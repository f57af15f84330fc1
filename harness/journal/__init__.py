"""What happened, on record: events, where they are kept, and how they are read back."""
