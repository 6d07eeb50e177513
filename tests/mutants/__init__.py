"""Small breakages of the product, one for each promise: every one of them must make a test fail.

`make mutants` breaks a copy of the package, one breakage at a time, and runs the tests named beside it. A
breakage that no test notices is a promise that nobody guards.
"""
