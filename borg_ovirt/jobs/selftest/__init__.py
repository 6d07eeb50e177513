"""The main job, tried on an engine in use: on a VM of its own that is gone afterwards."""
