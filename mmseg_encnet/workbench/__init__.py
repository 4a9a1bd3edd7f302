"""The tools around the plugin: converters, inspection, benchmarks, studies, reports, demos.

Nothing outside the workbench and the tools imports it.
"""
