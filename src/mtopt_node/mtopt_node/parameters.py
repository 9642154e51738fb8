"""Parameters declared with a description and a range, so that `ros2 param describe` teaches."""

from __future__ import annotations

from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

Value = bool | int | float | str | list[str]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node.

    Attributes:
        name: Its name.
        default: Its default; the type follows from it.
        description: What it does, with its unit.
        minimum: Smallest value allowed, for numbers.
        maximum: Largest value allowed, for numbers.
        choices: Values allowed, for strings; empty allows any.
        read_only: A change after start could not take effect.
    """

    name: str
    default: Value
    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True

    def descriptor(self) -> ParameterDescriptor:
        """Return the ROS descriptor: description, constraints, range, read-only flag."""
        constraints = f'one of: {", ".join(self.choices)}' if self.choices else ''
        descriptor = ParameterDescriptor(
            name=self.name,
            description=self.description,
            additional_constraints=constraints,
            read_only=self.read_only,
        )
        if self.minimum is None and self.maximum is None:
            return descriptor
        if isinstance(self.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(
                    from_value=-1e300 if self.minimum is None else float(self.minimum),
                    to_value=1e300 if self.maximum is None else float(self.maximum),
                )
            ]
        else:
            descriptor.integer_range = [
                IntegerRange(
                    from_value=-(2**62) if self.minimum is None else int(self.minimum),
                    to_value=2**62 if self.maximum is None else int(self.maximum),
                    step=0 if self.minimum is None or self.maximum is None else 1,
                )
            ]
        return descriptor
