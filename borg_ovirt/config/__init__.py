"""What an administrator writes down once: engines, repositories, VMs, policies. Schema, loading, secrets."""
