"""gdb: see the libraries that dlscope loads. In gdb: source docs/gdb/dlscope.py

Breakpoints by name and by file:line, source and backtraces then work inside them, in a program that uses the dlscope
crate as under `dlscope exec`. `info dlscope` lists them, as `info sharedlibrary` does the system's.
"""

import os

import gdb

LOADED = {}  # load bias -> path


class State(gdb.Breakpoint):
    """Stops at dlscope_debug_state(loaded, path, bias) for a moment, and goes on."""

    def __init__(self):
        super().__init__("dlscope_debug_state", internal=True)
        self.silent = True

    def stop(self):
        frame = gdb.newest_frame()
        loaded, path, bias = (int(frame.read_register(name)) % 2**64 for name in ("rdi", "rsi", "rdx"))
        path = os.path.abspath(text(path))
        if loaded:
            LOADED[bias] = path
            command = 'add-symbol-file "%s" -o %#x' % (path, bias)
        else:
            LOADED.pop(bias, None)
            command = 'remove-symbol-file "%s"' % path
        try:
            gdb.execute(command, to_string=True)
        except gdb.error as error:
            print("dlscope: %s: %s" % (path, error))
        return False


def text(address):
    """The C string there, whatever language the stopped function is written in."""
    memory = gdb.selected_inferior()
    found = bytearray()
    while (byte := memory.read_memory(address + len(found), 1).tobytes()) != b"\0":
        found += byte
    return os.fsdecode(bytes(found))


class Info(gdb.Command):
    """List the libraries that dlscope has loaded: load bias and path."""

    def __init__(self):
        super().__init__("info dlscope", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        if not LOADED:
            print("dlscope has loaded no library yet.")
            return
        print("%-18s  %s" % ("Load bias", "Library"))
        for bias, path in sorted(LOADED.items()):
            print("0x%016x  %s" % (bias, path))


# Each stage of the pipeline begins in one function.
STAGES = {
    "find": "load::find::Search::run",
    "read": "load::read::headers",
    "plan": "load::plan::plan",
    "map": "load::map::map",
    "dynamic": "load::dynamic::object",
    "needed": "load::needed::Needed::next",
    "versions": "load::versions::check",
    "relocate": "load::relocate::first_pass",
    "seal": "load::seal::seal",
    "publish": "load::publish::publish",
    "init": "load::init::run",
    "lookup": "library::lookup::address",
    "close": "load::close::release",
}


class BreakStage(gdb.Command):
    """dlscope-break-stage STAGE: stop where a stage of the loader begins."""

    def __init__(self):
        super().__init__("dlscope-break-stage", gdb.COMMAND_BREAKPOINTS)

    def complete(self, text, word):
        return [stage for stage in STAGES if stage.startswith(word)]

    def invoke(self, argument, from_tty):
        if argument not in STAGES:
            raise gdb.GdbError("the stages are: " + " ".join(STAGES))
        gdb.execute("break dlscope::%s" % STAGES[argument])


gdb.execute("set breakpoint pending on")
State()
Info()
BreakStage()
