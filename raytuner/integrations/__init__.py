"""Other libraries' searches, spaces and training loops, each in a module of its own name.

No other room imports these, and each needs its library only when it is imported.
"""
