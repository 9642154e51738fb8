# The robot: the simulator node, with a server of Gazebo 11 that it starts and ends. Needs the image of mtopt.Dockerfile.
FROM mtopt:local AS recipe
RUN ["/opt/mtopt/docker/in_environment", "python", "tools/gazebo_root.py", "--script", "/tmp/furnish.sh"]

# Gazebo 11 is in no later Debian.
FROM debian:11.11-slim AS tree
COPY --from=recipe /tmp/furnish.sh /tmp/furnish.sh
RUN sh /tmp/furnish.sh && rm /tmp/furnish.sh

FROM mtopt:local
COPY --from=tree / /opt/gazebo-11
ENV MTOPT_GAZEBO_ROOT=/opt/gazebo-11
USER 10001
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
    CMD ["/opt/mtopt/docker/in_environment", "python", "docker/healthy.py", "/robot1/simulator"]
CMD ["python", "-m", "mtopt_sim.simulator_node", "--ros-args", "-r", "__ns:=/robot1", "-p", "simulator:=gazebo"]
