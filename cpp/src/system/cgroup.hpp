// The processor time that the system grants to a group of processes.
#pragma once

namespace fastbp {

// The tightest quota of the control groups that this process is in, in processors; 0 if there is none. Each group from
// the process's own up to the topmost visible one may have a quota, in version 1 and 2 of control groups.
double cgroup_quota();

}  // namespace fastbp
