"""What a restore makes: disks, snapshots, VMs."""
