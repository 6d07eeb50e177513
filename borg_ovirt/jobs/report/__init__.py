"""The report: how every VM and repository stands, for an auditor and for the morning."""
