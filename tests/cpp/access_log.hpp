// The bytes that each member of a team reads and writes between two barriers, and where two members conflict.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "seam/network.hpp"

namespace fastbp::test {

class AccessLog {
  public:
    enum class Kind { read, write };

    // The operation of the accesses that follow.
    void begin(const char* operation, int member, int interval) {
        operation_ = operation;
        member_ = member;
        interval_ = interval;
        if (int(intervals_.size()) <= interval) intervals_.resize(std::size_t(interval) + 1);
    }

    // `lines` pieces of `bytes`, which begin `pitch` bytes apart.
    void note(Kind kind, const void* data, Index lines, Index bytes, Index pitch) {
        if (data == nullptr || lines <= 0 || bytes <= 0) return;
        if (pitch == bytes) {
            bytes *= lines;
            lines = 1;
        }
        const auto first = reinterpret_cast<std::uintptr_t>(data);
        for (Index k = 0; k < lines; ++k) {
            const std::uintptr_t at = first + std::uintptr_t(k * pitch);
            intervals_[std::size_t(interval_)].push_back({at, at + std::uintptr_t(bytes), member_, kind, operation_});
        }
    }
    template <class T>
    void note(Kind kind, const Matrix<T>& m) {
        constexpr Index size = sizeof(T);
        const bool by_rows = m.col_stride == 1 || m.cols == 1;
        if (by_rows)
            note(kind, m.data, m.rows, m.cols * size, m.row_stride * size);
        else
            note(kind, m.data, m.cols, m.rows * size, m.col_stride * size);
    }
    template <class T>
    void note(Kind kind, const Vector<T>& v) {
        note(kind, v.data, 1, v.size * Index(sizeof(T)), 0);
    }

    int intervals() const { return int(intervals_.size()); }

    // The operations before and after barrier k, which separates intervals k and k + 1.
    std::string around(int k) const {
        const auto in = [&](std::size_t i) -> const std::vector<Access>* {
            return i < intervals_.size() && !intervals_[i].empty() ? &intervals_[i] : nullptr;
        };
        const auto *before = in(std::size_t(k)), *after = in(std::size_t(k) + 1);
        return std::string(before ? before->back().operation : "nothing") + " | " +
               (after ? after->front().operation : "nothing");
    }

    // The first conflict within an interval, in words.
    std::optional<std::string> conflict() const {
        for (std::size_t k = 0; k < intervals_.size(); ++k)
            if (auto found = conflict_in(intervals_[k])) return "interval " + std::to_string(k) + ": " + *found;
        return std::nullopt;
    }
    // The first conflict that there would be without barrier k.
    std::optional<std::string> conflict_without(int k) const {
        std::vector<Access> both;
        for (std::size_t i : {std::size_t(k), std::size_t(k) + 1})
            if (i < intervals_.size()) both.insert(both.end(), intervals_[i].begin(), intervals_[i].end());
        return conflict_in(std::move(both));
    }

  private:
    struct Access {
        std::uintptr_t begin, end;
        int member;
        Kind kind;
        const char* operation;
    };

    // Two accesses of different members to a common byte, of which one is a write.
    static std::optional<std::string> conflict_in(std::vector<Access> accesses) {
        std::sort(accesses.begin(), accesses.end(), [](const Access& a, const Access& b) { return a.begin < b.begin; });
        // Of each member the read and the write that reach furthest. An earlier access whose end lies behind the
        // beginning of this one overlaps it.
        constexpr std::size_t most_members = 16;
        std::array<std::array<const Access*, 2>, most_members> furthest{};
        for (const Access& access : accesses) {
            for (std::size_t m = 0; m < most_members; ++m)
                for (const Access* other : furthest[m]) {
                    const bool reads_only =
                        other == nullptr || (other->kind == Kind::read && access.kind == Kind::read);
                    if (reads_only || int(m) == access.member || other->end <= access.begin) continue;
                    return text_of(*other) + " and " + text_of(access) + " overlap";
                }
            const Access*& own = furthest[std::size_t(access.member)][access.kind == Kind::write];
            if (own == nullptr || own->end < access.end) own = &access;
        }
        return std::nullopt;
    }
    static std::string text_of(const Access& access) {
        return std::string(access.kind == Kind::write ? "the write of " : "the read of ") + access.operation +
               " in member " + std::to_string(access.member);
    }

    const char* operation_ = "";
    int member_ = 0, interval_ = 0;
    std::vector<std::vector<Access>> intervals_;
};

}  // namespace fastbp::test
