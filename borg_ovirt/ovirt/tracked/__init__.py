"""What we make in the engine: the journal that knows of it, and its removal."""
