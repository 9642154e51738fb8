"""Errors raised at mtopt's borders: each names the thing, the place and the way out."""

from __future__ import annotations


class MtoptError(Exception):
    """Base of every error mtopt raises on purpose; the command line prints it without a traceback."""


class ConfigurationError(MtoptError):
    """A configuration file is missing, malformed or contradicts itself."""


class UnknownTaskError(MtoptError):
    """A task is not in the task set."""


class BagError(MtoptError):
    """A bag is truncated, foreign, empty or mistyped."""


class BagBusyError(BagError):
    """A bag is still being written."""


class BagUnreachableError(BagError):
    """A bag cannot be read at the moment; it may be whole, and is left where it is."""


class DiskFullError(BagError):
    """A bag cannot be written because there is no room left."""


class ImageError(MtoptError):
    """An image has an encoding or a size that cannot be used, or its data is damaged."""


class CheckpointError(MtoptError):
    """A checkpoint is missing, damaged or does not fit."""


class LabelError(MtoptError):
    """The label store or its journal cannot be read or written."""


class ActionError(MtoptError):
    """An action is not finite or cannot be carried out within the limits."""


class KinematicsError(MtoptError):
    """A URDF cannot be used, or a pose cannot be reached."""
