"""An oVirt in a box: the real imageio daemon and real QEMU behind a simulated, strict engine REST API."""
