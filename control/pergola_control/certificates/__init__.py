"""Certificates between the hosts of an environment: who signs them, and what is signed.

An environment has two trusts, each with authorities of its own, in one PEM file beside its
inventory: `members` are hosts, which are servers and clients of each other; `clients` are
applications, which are clients only. Where a member is asked for, an application's certificate is
of a stranger's authority, whatever it says of itself. Keys are made where they are used and stay
there; only an authority's own is on the control node. Of each trust the first authority in the file
signs and all are trusted, so a new one is added behind the old one, put before it once all hosts
trust both, and stands alone once all certificates are its own.
"""
