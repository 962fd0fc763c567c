"""The releases of one application: deploying, rolling back, listing, inspecting."""
