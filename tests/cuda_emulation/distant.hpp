// Memory that the process cannot read but while work of a stream runs, as that of a real device: under
// FASTBP_EMULATED_DISTANT=1, so that host code which touches it ends with a segmentation fault.
#pragma once

#include <cstddef>

namespace cuda_emulation {

bool distant();
void* take_distant(std::size_t bytes);
void give_distant(void* memory, std::size_t bytes);

// As long as one of these lives, the memory can be read and written.
class Opened {
  public:
    Opened();
    ~Opened();
    Opened(const Opened&) = delete;
};

}  // namespace cuda_emulation
