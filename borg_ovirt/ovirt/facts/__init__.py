"""What the engine tells of VMs, disks, snapshots, storage."""
