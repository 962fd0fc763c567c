"""What runs on a server: one package, standard library only, Python 3.11 and newer.

An import goes down the floors, never up; tests/host/test_floors.py has them in their order.
"""
