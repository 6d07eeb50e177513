"""The engine's REST API: one module per collection, each with a `blueprint` under /ovirt-engine/api."""
