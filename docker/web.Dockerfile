# The curves of the training, for a browser. Needs the image of mtopt.Dockerfile.
FROM mtopt:local
USER 10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:6006', timeout=5)"]
CMD ["tensorboard", "--logdir", "/models", "--host", "0.0.0.0", "--port", "6006"]
