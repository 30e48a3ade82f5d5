"""The way from a root to an object, searched and written as an expression. Nothing is decided."""
