"""The bytes of disks: image transfers and the imageio daemon behind them."""
