"""What modelfetch costs beside its peers: whole processes, from exec to exit, on one machine.

``python -m tests.bench --help`` says how it is run, ``docs/explanation/performance.md`` what came out.
"""
