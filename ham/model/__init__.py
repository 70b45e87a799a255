"""A trained system: built from its configuration, saved, averaged, and used to embed speech."""
