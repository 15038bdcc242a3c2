#!/bin/sh
# Fails if an object built for one instruction set offers a weak (shared inline) symbol: the linker
# could keep that copy for everybody, and a machine without the instruction set would die of it.
status=0
for object in "$@"; do
  weak=$(nm -C "$object" | grep -E '^[0-9a-f]* [WVu] ')
  if [ -n "$weak" ]; then
    echo "$object:"
    echo "$weak"
    status=1
  fi
done
exit $status
