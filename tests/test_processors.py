"""The default number of threads: the affinity of a thread, and the quotas of its control groups."""

import os

import pytest
from preload import preloaded, python

SET = ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS")

# /proc/self and /sys/fs/cgroup are folders of $FAKE.
MOVED_FILES = """
static const char* moved(const char* path, char* room) {
    if (!getenv("FAKE") || (strncmp(path, "/proc/self/", 11) && strncmp(path, "/sys/fs/cgroup", 14))) return path;
    snprintf(room, 4096, "%s%s", getenv("FAKE"), path);
    return room;
}
int open(const char* path, int flags, ...) {
    int (*real)(const char*, int, ...) = dlsym(RTLD_NEXT, "open");
    char room[4096];
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, int);
    va_end(rest);
    return real(moved(path, room), flags, mode);
}
"""
EIGHT_PROCESSORS = """
int sched_getaffinity(pid_t process, size_t size, cpu_set_t* set) {
    memset(set, 0, size);
    for (int k = 0; k < 8; ++k) CPU_SET_S(k, size, set);
    return 0;
}
"""
# Masks of a machine of 2048 processors, of which the process may use five.
LARGE_MASKS = """
int sched_getaffinity(pid_t process, size_t size, cpu_set_t* set) {
    if (size < 256) return errno = EINVAL, -1;
    memset(set, 0, size);
    for (int k = 0; k < 5; ++k) CPU_SET_S(300 * k, size, set);
    return 0;
}
"""


def test_more_processors_than_a_fixed_mask_holds(tmp_path):
    program = "import os, fastbp as fb; print(fb.get_num_threads(), len(os.sched_getaffinity(0)))"
    environment = preloaded(tmp_path, MOVED_FILES + LARGE_MASKS)
    assert python(program, environment=environment, without=SET, FAKE=str(tmp_path)) == "5 5\n"


FOLLOWING = r"""
import os, threading, time, numpy as np, fastbp as fb
net, X = fb.MLP((20, 64, 6), seed=0), np.ones((3000, 20))
allowed = os.sched_getaffinity(0)
before = fb.get_num_threads()
net.forward(X)
child = os.fork()
os.sched_setaffinity(0, {min(allowed)})
found = fb.get_num_threads()
others = []
thread = threading.Thread(target=lambda: others.append((os.sched_setaffinity(0, allowed), fb.get_num_threads())))
thread.start(); thread.join()
time.sleep(0.02)
taken = sum(fb._core.jobs_taken()[1:])
net.forward(X)  # without a question for the number
assert sum(fb._core.jobs_taken()[1:]) == taken
os.write(1, b"%d %d %d\n" % (before, found, others[0][1]))  # in one piece: the child writes too
if child == 0: os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
def test_the_default_follows_the_affinity_of_a_thread_and_in_a_child(tmp_path):
    lines = python(FOLLOWING, without=SET).splitlines()
    assert len(lines) == 2
    for line in lines:
        before, found, in_another_thread = map(int, line.split())
        assert found == 1
        assert before == in_another_thread


TWO, ONE = "200000 100000\n", "100000 100000\n"
MOUNT1 = "33 25 0:30 {root} {folder} rw - cgroup cgroup rw,{controllers}\n"
MOUNT2 = "30 23 0:26 {root} {folder} rw - cgroup2 cgroup2 rw\n"


def v1(folder, quota, period="100000"):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


ROOT = "/sys/fs/cgroup"
GROUPS = {
    "no files at all": ({}, 8),
    "no quota": ({"/proc/self/cgroup": "0::/a\n", f"{ROOT}/a/cpu.max": "max 100000\n"}, 8),
    "a container's root": ({"/proc/self/cgroup": "0::/\n", f"{ROOT}/cpu.max": TWO}, 2),
    "files without a list of groups": ({f"{ROOT}/cpu.max": TWO}, 2),
    "the own group": ({"/proc/self/cgroup": "0::/a/b\n", f"{ROOT}/a/b/cpu.max": TWO}, 2),
    "a group above is tighter": (
        {"/proc/self/cgroup": "0::/a/b/c\n", f"{ROOT}/a/cpu.max": ONE, f"{ROOT}/a/b/c/cpu.max": TWO}, 1,
    ),
    "part of a processor": ({"/proc/self/cgroup": "0::/a\n", f"{ROOT}/a/cpu.max": "210000 100000\n"}, 3),
    "the mount shows a part of the tree": (
        {
            "/proc/self/cgroup": "0::/machine/job/step\n",
            "/proc/self/mountinfo": MOUNT2.format(root="/machine", folder="/sys/fs/cgroup/part"),
            f"{ROOT}/part/job/cpu.max": TWO,
        }, 2,
    ),
    "the group lies outside the view": ({"/proc/self/cgroup": "0::/../other\n", f"{ROOT}/cpu.max": TWO}, 2),
    "version 1, nested": ({"/proc/self/cgroup": "4:cpu,cpuacct:/job\n", **v1(f"{ROOT}/cpu,cpuacct/job", 200000)}, 2),
    "version 1, a group above": (
        {"/proc/self/cgroup": "4:cpu:/job/step\n", **v1(f"{ROOT}/cpu/job", 50000), **v1(f"{ROOT}/cpu/job/step", -1)}, 1,
    ),
    "version 1, mounted elsewhere from a container": (
        {
            "/proc/self/cgroup": "9:memory:/x\n4:cpuacct,cpu:/docker/abc\n",
            "/proc/self/mountinfo": MOUNT1.format(root="/docker/abc", folder=f"{ROOT}/both", controllers="cpuacct,cpu"),
            **v1(f"{ROOT}/both", 300000),
        }, 3,
    ),
    "hybrid: version 1 has the quota": (
        {
            "/proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/user\n",
            "/proc/self/mountinfo": MOUNT2.format(root="/", folder=f"{ROOT}/unified"),
            **v1(f"{ROOT}/cpu/job", 200000),
        }, 2,
    ),
    "accounting only is no quota": ({"/proc/self/cgroup": "4:cpuacct:/job\n", **v1(f"{ROOT}/cpuacct/job", 100000)}, 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def eight_processors(tmp_path_factory):
    return preloaded(tmp_path_factory.mktemp("preload"), MOVED_FILES + EIGHT_PROCESSORS)


def lay_out(folder, files):
    for name, text in files.items():
        path = folder / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", GROUPS)
def test_the_tightest_quota_of_the_control_groups(eight_processors, tmp_path, name):
    files, expected = GROUPS[name]
    lay_out(tmp_path, files)
    program = "import fastbp; print(fastbp.get_num_threads())"
    assert int(python(program, environment=eight_processors, without=SET, FAKE=str(tmp_path))) == expected


def test_a_later_quota_is_followed(eight_processors, tmp_path):
    lay_out(tmp_path, {"/proc/self/cgroup": "0::/a\n", "/sys/fs/cgroup/a/cpu.max": "max 100000\n"})
    program = """
import sys, time, numpy as np, fastbp as fb
net, X = fb.MLP((20, 64, 6), seed=0), np.ones((3000, 20))
net.forward(X)
assert fb.get_num_threads() == 8
open(sys.argv[1], "w").write("100000 100000")
time.sleep(1.1)
net.forward(X)  # looks by itself
taken = sum(fb._core.jobs_taken()[1:])
net.forward(X)
assert sum(fb._core.jobs_taken()[1:]) == taken
open(sys.argv[1], "w").write("300000 100000")
time.sleep(1.1)
print(fb.get_num_threads())
"""
    quota = tmp_path / "sys/fs/cgroup/a/cpu.max"
    assert python(program, quota, environment=eight_processors, without=SET, FAKE=str(tmp_path)) == "3\n"
