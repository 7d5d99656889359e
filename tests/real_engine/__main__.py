"""`python -m tests.real_engine`: builds a real engine once, then runs this directory's tests against it.

The engine is llama.cpp with its OpenAI server (`llama-cpp-python[server]`), compiled from source in a virtual
environment of its own: 10 to 15 minutes the first time, nothing afterwards. The model is written by `model.py`.
Arguments go to pytest.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-real-engine"
PYTHON = ENVIRONMENT / "bin" / "python"
MODEL = ENVIRONMENT / "tiny-random.gguf"
REQUIREMENTS = ("llama-cpp-python[server]>=0.3.16", "gguf>=0.17")


def has_engine() -> bool:
    """Whether the environment is there and complete; a compilation that was interrupted leaves half of one."""
    if not PYTHON.exists():
        return False
    probe = "import gguf, llama_cpp.server.app"
    return subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


def build_engine() -> None:
    """Raises CalledProcessError; pip has then said why."""
    print(f"building llama.cpp in {ENVIRONMENT.name} (10 to 15 minutes, once)", flush=True)
    venv.create(ENVIRONMENT, with_pip=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--no-input", *REQUIREMENTS], check=True)


def write_model() -> None:
    """Written anew each time: it takes a second, and then it is what `model.py` says."""
    subprocess.run([PYTHON, Path(__file__).with_name("model.py"), MODEL], check=True)


def main() -> int:
    """The exit status of pytest."""
    try:
        if not has_engine():
            build_engine()
        write_model()
    except subprocess.CalledProcessError as exc:
        print(f"the engine could not be prepared: {exc}", file=sys.stderr)
        return 1
    environment = {**os.environ, "MRPROXY_REAL_ENGINE_PYTHON": str(PYTHON), "MRPROXY_REAL_ENGINE_MODEL": str(MODEL)}
    chosen = sys.argv[1:] or ["tests/real_engine"]
    tests = [sys.executable, "-m", "pytest", "-m", "real_engine", "-v", *chosen]
    return subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
