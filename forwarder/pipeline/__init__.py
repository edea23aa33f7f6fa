"""The loops: start reading here."""
