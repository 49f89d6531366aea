"""Conversations as users have them, to samples: read, checked, counted.

`records` knows the forms, `corpus` the files, `account` what could not be used and why, `encode` the tokens.
"""
