"""One instant of a VM, readable: the capture methods and the engine's objects behind them."""
