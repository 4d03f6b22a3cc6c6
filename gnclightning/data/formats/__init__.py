"""One reader per file format: images as they are stored, one at a time."""
