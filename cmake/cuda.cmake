# Finds what the CUDA plugin is built with: nvcc, of the system or of the wheels of the build environment, and the headers
# of cuBLASLt, which is opened at run time and never linked. Sets fastbp_cublaslt_include and fastbp_cuda_link_folder.
include(CheckLanguage)

# Where wheels of NVIDIA put their files: nvidia/cu13 beside the other packages.
execute_process(
    COMMAND ${Python_EXECUTABLE} -c
        "import importlib.util as u; print(*u.find_spec('nvidia').submodule_search_locations, sep=';')"
    OUTPUT_VARIABLE nvidia_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
list(TRANSFORM nvidia_folders APPEND /cu13)

if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(fastbp_nvcc nvcc PATHS /usr/local/cuda/bin ${nvidia_folders} PATH_SUFFIXES bin)
    if(fastbp_nvcc)
        set(CMAKE_CUDA_COMPILER ${fastbp_nvcc})
    endif()
endif()
# The wheels' nvcc looks for its libraries in lib64, and they lie in lib.
foreach(folder IN LISTS nvidia_folders)
    cmake_path(IS_PREFIX folder "${CMAKE_CUDA_COMPILER}" NORMALIZE from_wheels)
    if(from_wheels)
        set(fastbp_cuda_link_folder ${folder}/lib)
        set(ENV{LIBRARY_PATH} "${folder}/lib:$ENV{LIBRARY_PATH}")
    endif()
endforeach()
# Code for each generation since Turing, and PTX for what comes.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120)
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "FASTBP_CUDA needs nvcc 13: put it on the PATH, name it by CUDACXX, or install for "
        "${Python_EXECUTABLE}: nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* "
        "nvidia-cuda-runtime==13.0.* nvidia-cuda-cccl==13.0.* nvidia-cuda-culibos==13.0.*")
endif()

find_path(fastbp_cublaslt_include cublasLt.h
    HINTS ${nvidia_folders} ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES include)
if(NOT fastbp_cublaslt_include)
    message(FATAL_ERROR "FASTBP_CUDA needs the headers of cuBLASLt: install nvidia-cublas==13.0.2.14 for "
        "${Python_EXECUTABLE}, or name their folder by -Dfastbp_cublaslt_include=/path/to/include")
endif()
