# What a library, its plugins and its Python module must share: version, compiler, and the text of the headers that they
# are made of.
file(GLOB seam_headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cpp/src/seam/*.hpp
    ${CMAKE_CURRENT_SOURCE_DIR}/cpp/src/formulas/*.hpp ${CMAKE_CURRENT_SOURCE_DIR}/cpp/include/fastbp/*.h)
set(seam_text "")
foreach(header ${seam_headers})
    file(SHA256 ${header} header_hash)
    string(APPEND seam_text ${header_hash})
endforeach()
string(SHA256 seam_hash "${seam_text}")
string(SUBSTRING ${seam_hash} 0 16 seam_hash)
set(fastbp_build_id "${fastbp_version} ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${seam_hash}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${seam_headers})  # their text is read here
