"""Diagnosis: why modelfetch does not work here.

There are findings on hosts, on the cache's disk and on the environment. Hosts and disk have a module each
that gathers facts, and one that decides on them. The decisions are pure functions from facts to
:class:`~modelfetch.doctor.findings.Finding`, so that they are tested without a network or a disk.
"""
