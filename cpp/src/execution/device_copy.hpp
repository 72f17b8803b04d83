// Arrays that travel between the process's memory and a backend's that lies elsewhere.
#pragma once

#include <vector>

#include "execution/team_scratch.hpp"

namespace fastbp {

// Rows in the backend's memory, for as long as this lives: a copy, or the caller's own where they lie there already.
// Numbers that lie one after the other are copied as they are; others become To on the way.
template <class Real>
class DeviceCopy {
  public:
    template <class To>
    static DeviceCopy copy_of(Backend<Real>& on, const RowSource& rows);

    const RowSource& rows() const { return rows_; }

  private:
    void* take(Backend<Real>& on, const void* from, std::size_t bytes);
    template <class To>
    void take_converted(Backend<Real>& on, const RowSource& from);
    template <class To>
    void take_numbers(Backend<Real>& on, const RowSource& from);

    RowSource rows_;
    std::vector<std::unique_ptr<Block<Real>>> blocks_;
};

// Rows in the process's memory: a copy, or the caller's own.
template <class Real>
class HostRows {
  public:
    HostRows(Backend<Real>& on, const RowSource& rows);
    const RowSource& rows() const { return rows_; }

  private:
    RowSource rows_;
    std::vector<std::byte> copy_;
};

}  // namespace fastbp
