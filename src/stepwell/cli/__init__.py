"""The command line. ``stepwell --help`` loads next to nothing; each command brings its own imports."""
