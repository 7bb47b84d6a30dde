import sys
from pathlib import Path

# Child processes unpickle the fakes by name, so they are a module that every process can import.
for folder in (Path(__file__).parent, Path(__file__).parents[1] / "cuda_host"):
    sys.path.insert(0, str(folder))
