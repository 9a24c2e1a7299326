"""PyInstaller hook: take along what is read as data, the built-in catalog and the files of the panel.

PyInstaller finds this file by its name, ``hook-<package>.py``, in the directory that the entry point
``pyinstaller40`` names, and reads ``datas`` and ``hiddenimports``.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("modelfetch")
hiddenimports = collect_submodules("modelfetch.cli")  # subcommands are imported by name
