from .encoding import Encoding

__all__ = ['Encoding']
