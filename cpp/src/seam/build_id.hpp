// The text that a library and its plugins must share: version, compiler, and the very text of the seam.
#pragma once

namespace fastbp {

inline const char* build_id() { return FASTBP_BUILD_ID; }

}  // namespace fastbp
