"""The releases of one application on this host."""
