pytest_plugins = ["bench.speedup.plugin"]
