"""From a publisher's files to the folders that the configs expect: one module a data set.

A data set's module declares a :class:`~.command.Converter`: the files that its publisher gives, the
shipped configs that use the result, and a function which makes the one into the other with the
means of a :class:`~.command.Workspace`. The rest is the same for all of them: ``download`` fetches,
``archives`` unpacks, ``labels`` writes label images, ``verification`` looks at the result through
the configs themselves, and ``command`` is the command line. All of it can be killed at any moment
and started again: what is finished is not done again, and nothing is ever half-written under its
final name.
"""
