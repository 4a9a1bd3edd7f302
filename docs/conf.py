"""Sphinx configuration of the documentation; ``make docs`` builds it into site."""

from mmseg_encnet.version import __version__

project = 'mmsegmentation-encnet'
author = 'The mmsegmentation-encnet contributors'
copyright = author
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
exclude_patterns = ['reliability']

# Links to headings are checked down to this level.
myst_heading_anchors = 4
myst_enable_extensions = ['colon_fence']

# Single backticks in docstrings are code, as in Markdown.
default_role = 'code'
# Most blocks without a language are commands.
highlight_language = 'text'
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = 'furo'
html_title = f'EncNet for MMSegmentation {version}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = '.linenos, .gp, .go'
