#include "system/cgroup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

namespace fastbp {
namespace {

// A hierarchy of groups: the group `root` is the folder `folder`, and the groups below are its subfolders.
struct Mount {
    int version;
    std::string root, folder;

    bool operator==(const Mount&) const = default;
};

// The text of a file; empty if it cannot be read. (A stream would leave the file open in a program that another thread
// starts meanwhile.)
std::string text_of(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return "";
    std::string text;
    char part[4096];
    for (ssize_t count; (count = ::read(file, part, sizeof part)) > 0;) text.append(part, std::size_t(count));
    ::close(file);
    return text;
}

// Whether a list such as "cpu,cpuacct" has the entry.
bool has_entry(const std::string& list, const std::string& entry) {
    return ("," + list + ",").find("," + entry + ",") != std::string::npos;
}

// The usual places, and those that the system names: mountinfo has a line "id parent device root folder options ..
// - type source options" for each mount.
std::vector<Mount> find_mounts() {
    std::vector<Mount> mounts = {{2, "/", "/sys/fs/cgroup"},
                                 {2, "/", "/sys/fs/cgroup/unified"},
                                 {1, "/", "/sys/fs/cgroup/cpu"},
                                 {1, "/", "/sys/fs/cgroup/cpu,cpuacct"}};
    std::istringstream lines(text_of("/proc/self/mountinfo"));
    for (std::string line; std::getline(lines, line);) {
        const auto dash = line.find(" - cgroup");
        if (dash == std::string::npos) continue;
        std::string skipped, root, folder, type, options;
        std::istringstream(line) >> skipped >> skipped >> skipped >> root >> folder;
        std::istringstream(line.substr(dash + 3)) >> type >> skipped >> options;
        const int version = type == "cgroup2" ? 2 : 1;
        if (version == 1 && !has_entry(options, "cpu")) continue;
        if (const Mount mount{version, root, folder}; std::find(mounts.begin(), mounts.end(), mount) == mounts.end())
            mounts.push_back(mount);
    }
    return mounts;
}

struct Group {
    int version;
    std::string path;
};

// The groups of this process that may have a quota, from the text of /proc/self/cgroup. A line is
// "number:controllers:path", that of version 2 "0::path".
std::vector<Group> find_groups(const std::string& text) {
    std::vector<Group> groups;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const auto first = line.find(':');
        const auto second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (controllers.empty() || has_entry(controllers, "cpu"))
            groups.push_back({controllers.empty() ? 2 : 1, line.substr(second + 1)});
    }
    if (groups.empty()) groups = {{1, "/"}, {2, "/"}};
    return groups;
}

// The group's place below the mount; empty for a group that the mount does not show.
std::string below(const Mount& mount, const std::string& group) {
    if (group.find("/..") != std::string::npos) return "";  // outside this process's view
    if (mount.root == "/") return group == "/" ? "" : group;
    const bool inside =
        group.starts_with(mount.root) && (group.size() == mount.root.size() || group[mount.root.size()] == '/');
    return inside ? group.substr(mount.root.size()) : "";
}

// A folder that may hold a quota: "quota period" in one file (version 2), or a file for each.
struct QuotaFiles {
    int version;
    std::string quota, period;

    QuotaFiles(int v, const std::string& folder)
        : version(v),
          quota(folder + (v == 2 ? "/cpu.max" : "/cpu.cfs_quota_us")),
          period(v == 2 ? "" : folder + "/cpu.cfs_period_us") {}
};

// The folders of the groups that this process is in, and the text that named the groups.
struct Folders {
    std::string groups;
    std::vector<QuotaFiles> files;
};

Folders find_folders(const std::string& groups) {
    Folders found{groups, {}};
    const std::vector<Mount> mounts = find_mounts();
    for (const Group& group : find_groups(groups))
        for (const Mount& mount : mounts) {
            if (mount.version != group.version) continue;
            std::string folder = mount.folder + below(mount, group.path);
            for (; folder.size() >= mount.folder.size(); folder.erase(folder.rfind('/')))
                found.files.emplace_back(mount.version, folder);
        }
    return found;
}

// Text in memory of its own, for files that are read again and again: nothing is allocated.
struct ShortText {
    char text[4096] = {};

    explicit ShortText(const char* path) {
        const int file = ::open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        std::size_t size = 0;
        for (ssize_t count; size + 1 < sizeof text && (count = ::read(file, text + size, sizeof text - 1 - size)) > 0;)
            size += std::size_t(count);
        ::close(file);
    }
};

// 0 if the folder has none. "max" is no number.
double quota_of(const QuotaFiles& files) {
    const ShortText quota(files.quota.c_str());
    char* rest = nullptr;
    const double granted = std::strtod(quota.text, &rest);
    const double period = files.version == 2 ? std::strtod(rest, nullptr)
                          : granted > 0      ? std::strtod(ShortText(files.period.c_str()).text, nullptr)
                                             : 0;
    return granted > 0 && period > 0 ? granted / period : 0;
}

}  // namespace

double cgroup_quota() {
    static std::atomic<const Folders*> known{nullptr};
    const ShortText groups("/proc/self/cgroup");
    const Folders* folders = known.load(std::memory_order_acquire);
    if (folders == nullptr || folders->groups != groups.text) {
        folders = new Folders(find_folders(groups.text));  // never deleted: another thread may read the old one
        known.store(folders, std::memory_order_release);
    }
    double tightest = 0;
    for (const QuotaFiles& files : folders->files)
        if (const double quota = quota_of(files); quota > 0)
            tightest = tightest > 0 ? std::min(tightest, quota) : quota;
    return tightest;
}

}  // namespace fastbp
