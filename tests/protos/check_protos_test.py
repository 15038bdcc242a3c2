#!/usr/bin/env python3
"""The check itself must find what it is for."""
import pathlib
import tempfile
import unittest

import check_protos


def read(text):
    protos = check_protos.Protos()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.proto"
        path.write_text(text)
        protos.read(path)
    return protos


GOOD = """// M.
message M {
  // A.
  int32 a = 1;
  // Which.
  oneof which {
    // B.
    string b = 2;
  }
}
"""


class CheckProtosTest(unittest.TestCase):
    def test_reads_fields_of_oneofs_as_the_messages(self):
        self.assertEqual(read(GOOD).entries, {"M.a": "1 int32", "M.b": "2 string"})
        self.assertEqual(read(GOOD).complaints, [])

    def test_a_field_without_a_comment_is_found(self):
        self.assertTrue(any("no comment" in c for c in read(GOOD.replace("  // A.\n", "")).complaints))

    def test_a_number_used_twice_is_found(self):
        self.assertTrue(any("has the number" in c for c in read(GOOD.replace("b = 2", "b = 1")).complaints))

    def test_renumbering_and_retyping_are_found(self):
        listed = {"M.a": "3 int32", "M.b": "2 bytes"}
        self.assertEqual(len(check_protos.compare(read(GOOD), listed)), 2)

    def test_a_removed_field_must_be_reserved(self):
        listed = {"M.a": "1 int32", "M.b": "2 string", "M.c": "3 int32"}
        self.assertEqual(len(check_protos.compare(read(GOOD), listed)), 1)
        reserved = GOOD.replace("message M {\n", "message M {\n  reserved 3;\n")
        self.assertEqual(check_protos.compare(read(reserved), listed), [])

    def test_a_new_field_must_be_listed(self):
        self.assertEqual(check_protos.compare(read(GOOD), {"M.a": "1 int32"}), ["not listed, add the line: M.b 2 string"])


if __name__ == "__main__":
    unittest.main()
