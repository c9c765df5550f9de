"""Adapters for other libraries' searches, spaces and training loops, one module per library.

Each module needs only its own library.
"""
