# SPDX-License-Identifier: Apache-2.0
# The third-party libraries of libtanul.so: OpenBLAS, zlib and Highway are linked, tomlplusplus and
# nlohmann-json are header-only, fmt is compiled in. None of them appears in a public header.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
pkg_check_modules(HIGHWAY REQUIRED libhwy)

# fmt from its headers, compiled once: libtanul.so, the tools and the tests each link this archive.
add_library(tanul_fmt STATIC ${PROJECT_SOURCE_DIR}/third_party/fmt.cpp)
get_target_property(fmt_include_dirs fmt::fmt-header-only INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(tanul_fmt SYSTEM PUBLIC ${fmt_include_dirs})
target_compile_features(tanul_fmt PUBLIC cxx_std_20)
set_target_properties(tanul_fmt PROPERTIES POSITION_INDEPENDENT_CODE ON
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

add_library(tanul_dependencies INTERFACE)
target_include_directories(tanul_dependencies SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIRS}
  ${HIGHWAY_INCLUDE_DIRS})
target_link_libraries(tanul_dependencies INTERFACE PkgConfig::OPENBLAS ZLIB::ZLIB
  tanul_fmt nlohmann_json::nlohmann_json Threads::Threads ${HIGHWAY_LINK_LIBRARIES})
