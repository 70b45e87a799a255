"""The commands, one a file: they alone parse arguments, configure logging, print and exit."""
