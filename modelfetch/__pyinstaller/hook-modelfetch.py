"""PyInstaller hook: take along what is read as data: the catalog, the files of the panel, the verifier.

PyInstaller finds this file by its name, ``hook-<package>.py``, in the directory that the entry point
``pyinstaller40`` names, and reads ``datas`` and ``hiddenimports``.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("modelfetch")
datas += collect_data_files("modelfetch", include_py_files=True, includes=["bundle/verifier.py"])
hiddenimports = collect_submodules("modelfetch.cli")  # subcommands are imported by name
