"""Models on the disk: in lite's own folders, and where other programs keep theirs. Everything here only reads."""
