# SPDX-License-Identifier: Apache-2.0
# How everything is compiled: the standard, the warnings, the sanitizers, where outputs go.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Programs find libtanul.so beside them, in the build tree and where they are installed: both trees
# can be moved.
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
set(CMAKE_INSTALL_RPATH $ORIGIN/../${CMAKE_INSTALL_LIBDIR})

find_program(TANUL_CCACHE ccache)
if(TANUL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TANUL_CCACHE})
endif()

add_library(tanul_build INTERFACE)
target_compile_features(tanul_build INTERFACE cxx_std_20)
# -Wno-restrict: false alarms of GCC 12 on string concatenation.
# -ffp-contract=off: a result must not depend on which multiplications the compiler chose to fuse;
# kernels that want fused multiply-add say so through Highway.
target_compile_options(tanul_build INTERFACE -Wall -Wextra -Wshadow -Wconversion
  -Wno-sign-conversion -Wnon-virtual-dtor -Wno-restrict -ffp-contract=off)
if(TANUL_WERROR)
  target_compile_options(tanul_build INTERFACE -Werror)
endif()
if(TANUL_SANITIZE)
  target_compile_options(tanul_build INTERFACE -fsanitize=${TANUL_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tanul_build INTERFACE -fsanitize=${TANUL_SANITIZE})
endif()

# What is not hot is compiled for a quick build: the level after CMake's own -O3 counts.
function(tanul_compile_quickly target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
endfunction()

# Compiles the sources of a folder, or those that a pattern names, as one: for files that are small beside their
# headers. Names in their unnamed namespaces must differ.
function(tanul_compile_together target)
  foreach(pattern ${ARGN})
    set(files ${pattern})
    if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${pattern})
      string(APPEND files "/*.cpp")
    endif()
    file(GLOB sources CONFIGURE_DEPENDS ${files})
    string(MAKE_C_IDENTIFIER "${pattern}" group)
    set_source_files_properties(${sources} PROPERTIES UNITY_GROUP ${group})
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()

# What nearly every file includes, compiled once for library and tests; files still include what they use.
set(tanul_common_headers <algorithm> <functional> <map> <memory> <optional> <string> <utility>
  <variant> <vector> <fmt/core.h>)

# "GNU 12.2.0, Release": what `tanul info` calls the build.
function(tanul_describe_build result)
  set(text "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, ${CMAKE_BUILD_TYPE}")
  if(TANUL_SANITIZE)
    string(APPEND text ", sanitizers ${TANUL_SANITIZE}")
  endif()
  set(${result} "${text}" PARENT_SCOPE)
endfunction()
