"""The MuJoCo model of the cell, built from the URDF and the description table."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from mtopt_core.description.parts import Camera, CellTable, Form, Motion, Shape
from mtopt_core.description.surroundings import bin_shapes, plate_shapes, table_shape
from mtopt_core.description.urdf import urdf_text
from mtopt_sim.cloth import add_cloth

TIME_STEP_NS = 4_000_000
STIFFNESS = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
# s; the servo's damping as a share of its stiffness. The reference leads by the same time, so that it does not lag.
SERVO_LEAD = 0.03
FINGER_STIFFNESS, FINGER_LEAD = 4000.0, 0.02
ARMATURE = 0.1
# The fingers' drive: without its inertia, and the stiff coupling below, they dodge what they should grip.
FINGER_ARMATURE = 0.1
COUPLING_REFERENCE, COUPLING_IMPEDANCE = (0.008, 1.0), (0.98, 0.999, 0.001, 0.5, 2.0)

# Bits of contype and conaffinity: what stands still, what lies about, what grips, and the cloth, which does not touch
# itself: a fold ends where its hinge does.
STANDING, LYING, GRIPPING, CLOTH = 1, 2, 4, 8
HIDDEN_GROUP, VISIBLE_GROUP = 3, 1

OBJECT_FRICTION = (1.0, 0.01, 0.003)
FINGER_FRICTION = (1.5, 0.02, 0.001)

_FORMS = {
    Form.BOX: mujoco.mjtGeom.mjGEOM_BOX,
    Form.CYLINDER: mujoco.mjtGeom.mjGEOM_CYLINDER,
    Form.SPHERE: mujoco.mjtGeom.mjGEOM_SPHERE,
}
# MuJoCo wants half lengths where the table has whole ones.
_SIZE_FACTORS = {Form.BOX: (0.5, 0.5, 0.5), Form.CYLINDER: (1.0, 0.5), Form.SPHERE: (1.0,)}


@dataclass(frozen=True)
class CellModel:
    """The compiled model and where its parts are.

    Attributes:
        model: MuJoCo's model. Scenes change colours, poses of plate and cameras, and light in place.
        arm_joints: Names, base to tip.
        arm_dofs: `(7,) int`, index of the arm's joints in qpos and qvel alike.
        finger_dofs: `(2,) int`, of the two finger joints.
        touching_bodies: `(T,) int`, in the order of the arm's touching links.
        object_bodies: `(O,) int`, in the table's order of categories.
        object_qpos: `(O,) int`, start of each object's seven numbers in qpos.
        plate_body: Index of the plate.
    """

    model: mujoco.MjModel
    arm_joints: tuple[str, ...]
    arm_dofs: np.ndarray
    finger_dofs: np.ndarray
    touching_bodies: np.ndarray
    object_bodies: np.ndarray
    object_qpos: np.ndarray
    plate_body: int


def build_model(table: CellTable) -> CellModel:
    """Compile the cell with one object of every category, and its cloth if it has one; a scene parks what it lacks."""
    spec = mujoco.MjSpec.from_string(urdf_text(table.arm))
    _set_options(spec)
    _prepare_arm(spec, table)
    _add_surroundings(spec, table)
    plate = spec.worldbody.add_body(name='plate')
    for shape in plate_shapes(table.plate, table.plate.colours[0]):
        _add_standing(plate, shape)
    for category in table.categories:
        body = spec.worldbody.add_body(name=category.name)
        body.add_freejoint(name=category.name)
        body.mass, body.explicitinertial = category.mass, False
        touching = [shape for shape in category.shapes if shape.collides]
        for shape in category.shapes:
            geom = _add_geom(body, shape)
            if shape.collides:
                geom.mass = category.mass / len(touching)
                geom.contype, geom.conaffinity = LYING, STANDING | LYING | GRIPPING
                geom.condim = 6 if category.rolls else 4
                geom.friction = OBJECT_FRICTION
    for geom in add_cloth(spec, table.cloth) if table.cloth else ():
        geom.contype, geom.conaffinity = CLOTH, STANDING | LYING | GRIPPING
        geom.condim, geom.friction, geom.group = 4, OBJECT_FRICTION, VISIBLE_GROUP
    for camera in table.cameras:
        _add_camera(spec, camera)
    model = spec.compile()
    return _indexed(model, table)


def _indexed(model: mujoco.MjModel, table: CellTable) -> CellModel:
    arm_joints = tuple(joint.name for joint in table.arm.joints if joint.motion is Motion.REVOLUTE)
    fingers = [joint for joint in table.arm.joints if joint.motion is Motion.PRISMATIC]
    return CellModel(
        model=model,
        arm_joints=arm_joints,
        arm_dofs=np.array([model.joint(name).qposadr[0] for name in arm_joints]),
        finger_dofs=np.array([model.joint(joint.name).qposadr[0] for joint in fingers]),
        touching_bodies=np.array([model.body(name).id for name in table.arm.touching_links]),
        object_bodies=np.array([model.body(category.name).id for category in table.categories]),
        object_qpos=np.array([model.joint(category.name).qposadr[0] for category in table.categories]),
        plate_body=model.body('plate').id,
    )


def _set_options(spec: mujoco.MjSpec) -> None:
    option = spec.option
    option.timestep = TIME_STEP_NS / 1e9
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    # What is gripped must not creep out of the fingers.
    option.noslip_iterations = 3
    # Newton's direct solve threw objects about in 10 of 250 episodes of random pushing; conjugate gradients in none.
    option.solver = mujoco.mjtSolver.mjSOL_CG
    option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    # What a small image costs is the shadow map (40 ms), multisampling (2 ms) and finely divided shapes (1.5 ms).
    quality = spec.visual.quality
    quality.shadowsize = quality.offsamples = 0
    quality.numslices, quality.numstacks, quality.numquads = 16, 8, 1
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 10.0
    spec.stat.extent, spec.stat.center = 1.0, (0.4, 0.0, 0.2)
    spec.visual.headlight.ambient = (0.45, 0.45, 0.45)
    spec.visual.headlight.diffuse = (0.15, 0.15, 0.15)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)


def _prepare_arm(spec: mujoco.MjSpec, table: CellTable) -> None:
    """Add what a URDF cannot say: servos, contact bits, friction, and that the arm carries its own weight."""
    for link in table.arm.links:
        body = spec.body(link.name)
        body.gravcomp = 1.0
        for geom in body.geoms:
            if geom.contype:
                geom.contype, geom.conaffinity = GRIPPING, STANDING | LYING
                geom.condim, geom.friction, geom.group = 4, FINGER_FRICTION, HIDDEN_GROUP
    for coupling in spec.equalities:
        coupling.solref, coupling.solimp = COUPLING_REFERENCE, COUPLING_IMPEDANCE
    for joint in table.arm.joints:
        if joint.motion is Motion.FIXED:
            continue
        revolute = joint.motion is Motion.REVOLUTE
        spec.joint(joint.name).armature = ARMATURE if revolute else FINGER_ARMATURE
        if joint.mimics:
            continue
        number = len(spec.actuators)
        stiffness, lead = (STIFFNESS[number], SERVO_LEAD) if revolute else (FINGER_STIFFNESS, FINGER_LEAD)
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=stiffness, kv=stiffness * lead)
        servo.forcelimited, servo.forcerange = True, (-joint.effort, joint.effort)


def _add_geom(body: mujoco.MjsBody, shape: Shape) -> mujoco.MjsGeom:
    """Add a visible geom that touches nothing yet and weighs nothing."""
    size = np.zeros(3)
    size[: len(shape.size)] = np.multiply(shape.size, _SIZE_FACTORS[shape.form])
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array(shape.rpy), 'XYZ')
    return body.add_geom(
        type=_FORMS[shape.form], size=size, pos=shape.position, quat=quaternion, rgba=[*shape.colour, 1.0],
        mass=0.0, contype=0, conaffinity=0, group=VISIBLE_GROUP,
    )  # fmt: skip


def _add_standing(body: mujoco.MjsBody, shape: Shape) -> None:
    geom = _add_geom(body, shape)
    if shape.collides:
        geom.contype = STANDING
        geom.friction = OBJECT_FRICTION


def _add_surroundings(spec: mujoco.MjSpec, table: CellTable) -> None:
    world = spec.worldbody
    # One plane is what objects rest on: contacts with it are exact and cheap, those with a box are not.
    world.add_geom(
        name='ground', type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1], contype=STANDING, conaffinity=0,
        friction=OBJECT_FRICTION, group=HIDDEN_GROUP,
    )  # fmt: skip
    for shape in (table_shape(table), *(shape for one in table.bins for shape in bin_shapes(one))):
        _add_standing(world, shape)
    world.add_light(
        name='lamp', type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, dir=(0.1, 0.1, -1.0), castshadow=False,
        diffuse=(0.5, 0.5, 0.5), specular=(0.1, 0.1, 0.1),
    )  # fmt: skip
    spec.add_texture(
        name='sky', type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=(0.80, 0.83, 0.86), rgb2=(0.80, 0.83, 0.86), width=8, height=8,
    )  # fmt: skip


def _add_camera(spec: mujoco.MjSpec, camera: Camera) -> None:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.axes.ravel())
    spec.body(camera.link).add_camera(
        name=camera.name, pos=camera.position, quat=quaternion, fovy=np.rad2deg(camera.field_of_view)
    )
