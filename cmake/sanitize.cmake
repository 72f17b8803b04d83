# Options that every target of the project shares: warnings, and the sanitizers of FASTBP_SANITIZE.
add_library(fastbp_options INTERFACE)
# nvcc has options of its own.
set(options -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor $<$<BOOL:${FASTBP_WERROR}>:-Werror>)
if(FASTBP_SANITIZE)
    list(APPEND options -fsanitize=${FASTBP_SANITIZE} -fno-omit-frame-pointer -g -fno-sanitize-recover=all)
    target_link_options(fastbp_options INTERFACE -fsanitize=${FASTBP_SANITIZE})
endif()
target_compile_options(fastbp_options INTERFACE "$<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:${options}>")
