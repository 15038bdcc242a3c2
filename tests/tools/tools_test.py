"""The checks find what they are for: each is run on a small tree with a planted fault."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TABLE = """
<!-- include-table -->
| module | may include | third-party |
|---|---|---|
| base | | absl* |
| base/inner | base | nlohmann |
| top | base protos | grpc* |
<!-- /include-table -->
"""


class ToolTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("ARCHITECTURE.md", TABLE)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_tool(self, name):
        done = subprocess.run([sys.executable, HERE / name, self.root], capture_output=True, text=True)
        return done.returncode, done.stdout

    def test_layering_passes_what_the_table_allows(self):
        self.write("base/a.h", '#include <vector>\n#include "absl/status/status.h"\n#include "base/b.h"\n')
        self.write("base/inner/a.cc", '#include "base/a.h"\n#include "nlohmann/json.hpp"\n')
        self.write("top/a.cc", '#include "tessera/v1/x.pb.h"\n#include <grpcpp/grpcpp.h>\n#include "base/a.h"\n')
        self.assertEqual(self.run_tool("check_layering.py"), (0, "every include is allowed by ARCHITECTURE.md's table\n"))

    def test_layering_finds_a_forbidden_module(self):
        self.write("base/a.h", '#include "top/a.h"\n')
        code, output = self.run_tool("check_layering.py")
        self.assertEqual(code, 1)
        self.assertIn("base/a.h:1: top/a.h: base may not include top", output)

    def test_layering_tells_inner_modules_from_outer_ones(self):
        self.write("top/a.cc", '#include "base/inner/a.h"\n')
        self.assertIn("top may not include base/inner", self.run_tool("check_layering.py")[1])

    def test_layering_finds_third_party_headers(self):
        self.write("base/a.cc", '#include "nlohmann/json.hpp"\n')
        self.write("base/inner/a.h", '#include "nlohmann/json.hpp"\n')
        output = self.run_tool("check_layering.py")[1]
        self.assertIn("base/a.cc:1: nlohmann/json.hpp: base may not include nlohmann", output)
        self.assertIn("base/inner/a.h:1: nlohmann/json.hpp: nlohmann belongs into .cc files", output)

    def test_layering_needs_its_table(self):
        self.write("ARCHITECTURE.md", "nothing\n")
        self.assertEqual(self.run_tool("check_layering.py")[0], 2)

    def test_paths_finds_a_home_folder(self):
        self.write("good.md", "see $HOME/x, https://example.com/home/page and a/root/b\n")
        self.assertEqual(self.run_tool("check_paths.py")[0], 0)
        self.write("bad.md", "line\nsee /" + "home/someone/x\n")
        code, output = self.run_tool("check_paths.py")
        self.assertEqual(code, 1)
        self.assertIn("bad.md:2", output)


if __name__ == "__main__":
    unittest.main()
