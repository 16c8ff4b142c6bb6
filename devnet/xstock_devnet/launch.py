"""Replace this process by a command that dies with its parent and, if asked, is not root.

Run as a script by `processes.ChildProcess`, never imported by it: between fork and exec only a
fresh interpreter is safe to run Python in. On Linux the kernel is asked to signal the command when
the parent's starting thread ends, so a parent that is killed -9 leaves no orphan. PostgreSQL
refuses root: the command then runs as `nobody` and keeps just the capability to reach files whose
folders are closed to others, so that no folder's permissions have to be loosened.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
UNPRIVILEGED_USER = "nobody"


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(name: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}; run as an ordinary user instead")


def die_with_parent(parent_pid: int, signal_number: int) -> None:
    """Ask the kernel for `signal_number` when the parent ends; exit if it has ended already."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _checked("PR_SET_PDEATHSIG", libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0))
    if os.getppid() != parent_pid:
        sys.exit(f"parent {parent_pid} ended before its child started")


def drop_root() -> None:
    """Become `nobody`, keeping only CAP_DAC_OVERRIDE; do nothing if this is not root.

    Raises OSError where root has no such capability to keep, as in some containers.
    """
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    libc = ctypes.CDLL(None, use_errno=True)
    # keeps capabilities over setuid, and makes access(2), by which PostgreSQL finds its own
    # programs, respect them
    kept = libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    _checked("PR_SET_SECUREBITS", kept)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    bit = 1 << CAP_DAC_OVERRIDE
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)(_CapabilityData(bit, bit, bit), _CapabilityData(0, 0, 0))
    _checked("capset", libc.capset(ctypes.byref(header), ctypes.byref(data)))
    raised = libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
    _checked("PR_CAP_AMBIENT_RAISE", raised)


def main(arguments: list[str]) -> None:
    """Run `<parent pid> <death signal> <keep|drop> <command> …` in place of this process."""
    parent_pid, signal_number, rights, *command = arguments
    if rights == "drop":
        drop_root()
    die_with_parent(int(parent_pid), int(signal_number))
    os.execvp(command[0], command)  # noqa: S606 - the command comes from this package's own code


if __name__ == "__main__":
    main(sys.argv[1:])
