"""logrotate's configuration: read as logrotate reads it (:mod:`blocks`), and carried over to ours (:mod:`mapping`)."""
