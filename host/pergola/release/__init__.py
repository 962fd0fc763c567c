"""The releases of one application: deployed, gone back to, listed, looked into."""
