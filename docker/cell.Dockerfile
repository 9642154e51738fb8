# Every node of the cell but the robot's own. Needs the image of mtopt.Dockerfile.
FROM mtopt:local
USER 10001
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
    CMD ["/opt/mtopt/docker/in_environment", "python", "docker/healthy.py", "/robot1/collector"]
CMD ["mtopt", "run", "--data", "/data", "--models", "/models", "--sim", "elsewhere", "--policy", "mixture", \
     "--grade-with", "simulator"]
