# SPDX-License-Identifier: Apache-2.0
# The third-party libraries of libtanul.so: OpenBLAS, zlib and Highway are linked, fmt,
# tomlplusplus and nlohmann-json are header-only. None of them appears in a public header.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
pkg_check_modules(HIGHWAY REQUIRED libhwy)

add_library(tanul_dependencies INTERFACE)
target_include_directories(tanul_dependencies SYSTEM INTERFACE ${OPENBLAS_INCLUDE_DIRS}
  ${HIGHWAY_INCLUDE_DIRS})
target_link_libraries(tanul_dependencies INTERFACE PkgConfig::OPENBLAS ZLIB::ZLIB
  fmt::fmt-header-only nlohmann_json::nlohmann_json Threads::Threads ${HIGHWAY_LINK_LIBRARIES})
