"""Folder of modules under the names that programs for dora expect; never installed as those."""
