# Trains on the bags that the cell records, and exports policies for it. Needs the image of mtopt.Dockerfile.
FROM mtopt:local
USER 10001
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 \
    CMD ["/opt/mtopt/docker/in_environment", "python", "docker/healthy.py", "/robot1/trainer"]
CMD ["python", "-m", "mtopt_policy.trainer_node", "--ros-args", "-r", "__ns:=/robot1", \
     "-p", "bags:=/data", "-p", "out:=/models", "-p", "outcomes:=[simulator]"]
