# Finds the OpenBLAS to bundle: FASTBP_BUNDLED_BLAS, or the one in the scipy-openblas32 wheel of the build environment.
# Sets fastbp_bundled_blas (the file) and fastbp_blas_name (its name in the package; threadpoolctl knows it by its prefix).
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter OPTIONAL_COMPONENTS Development.Module)
set(fastbp_blas_name libscipy_openblas-fastbp.so)
set(fastbp_bundled_blas "${FASTBP_BUNDLED_BLAS}")
if(NOT fastbp_bundled_blas)
    execute_process(
        COMMAND ${Python_EXECUTABLE} -c "import scipy_openblas32 as s; print(s.get_lib_dir())"
        OUTPUT_VARIABLE blas_folder OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed ERROR_QUIET)
    if(failed)
        message(FATAL_ERROR "No OpenBLAS to bundle: install scipy-openblas32 for ${Python_EXECUTABLE}, "
            "or name a library by -DFASTBP_BUNDLED_BLAS=/path/to/libopenblas.so")
    endif()
    set(fastbp_bundled_blas ${blas_folder}/libscipy_openblas.so)
endif()
if(NOT EXISTS ${fastbp_bundled_blas})
    message(FATAL_ERROR "The OpenBLAS to bundle does not exist: ${fastbp_bundled_blas}")
endif()
