"""Where things are."""
import os
import pathlib

SOURCE = pathlib.Path(os.environ.get("TESSERA_SOURCE", pathlib.Path(__file__).resolve().parents[3]))
BINARY = pathlib.Path(os.environ.get("TESSERA_BINARY", SOURCE / "build/release/tessera"))
SANITIZED = os.environ.get("TESSERA_SANITIZED", "0") == "1"
GOLDEN = SOURCE / "tests/fixtures/golden"
MODELS = GOLDEN / "models"
IMAGES = GOLDEN / "processor/images"
NANO = SOURCE / "models/nano"

# Sanitizer builds are several times slower; a wait that ends early is a failure, one that ends late costs nothing.
PATIENCE = 4 if SANITIZED else 1
START_SECONDS = 60 * PATIENCE
CALL_SECONDS = 60 * PATIENCE
STOP_SECONDS = 30 * PATIENCE
