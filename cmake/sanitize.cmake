# Options that every target of the project shares: warnings, and the sanitizers of FASTBP_SANITIZE.
add_library(fastbp_options INTERFACE)
# nvcc has options of its own.
set(options -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor $<$<BOOL:${FASTBP_WERROR}>:-Werror>)
# What the files on the way of a small step, and the loops, ask for beyond the build type's -O2.
set(fastbp_optimize -O3)
if(FASTBP_SANITIZE)
    # At -O2 the checks of the vector loops alone take gcc eight minutes, at -O1 one.
    set(fastbp_optimize -O1)
    list(APPEND options -fsanitize=${FASTBP_SANITIZE} -fno-omit-frame-pointer -g1 -O1 -fno-sanitize-recover=all)
    target_link_options(fastbp_options INTERFACE -fsanitize=${FASTBP_SANITIZE})
endif()
target_compile_options(fastbp_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:${options}>")
