import sys
from pathlib import Path

# Child processes unpickle the fakes by name, so they are a module that every process can import.
sys.path.insert(0, str(Path(__file__).parent))
