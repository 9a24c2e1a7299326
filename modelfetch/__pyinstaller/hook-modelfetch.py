"""PyInstaller hook: take along what is read as data, the built-in catalog and the files of the panel."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("modelfetch")
