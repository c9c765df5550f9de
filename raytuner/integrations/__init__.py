"""Adapters for other libraries' searches, spaces and training loops, one module for each library.

A library is needed only when its module is imported.
"""
