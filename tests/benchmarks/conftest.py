import sys
from pathlib import Path

# a benchmark is a script: it imports its neighbours
for folder in (Path(__file__).parent, Path(__file__).parents[1] / "cuda_host"):
    sys.path.append(str(folder))
