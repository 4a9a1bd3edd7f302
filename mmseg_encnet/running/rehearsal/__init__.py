"""Checks before the first iteration, so that a mistake does not surface after hours of training.

:mod:`.loops` compares loops, samplers, schedules and hooks; :mod:`.losses` computes each loss once;
:mod:`.norms` looks for batch norm over a single value; :mod:`.validation` validates one image. None
of them changes weights, running statistics or random states.
"""
