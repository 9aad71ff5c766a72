# SPDX-License-Identifier: Apache-2.0
# libtanul-cuda.so: the CUDA backend as a module that libtanul.so loads when it runs. It needs nvcc to be
# built and nothing but the NVIDIA driver to run: the CUDA runtime is linked statically and hidden.
find_program(TANUL_NVCC nvcc HINTS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
if(NOT TANUL_NVCC)
  message(STATUS "tanul: nvcc was not found, libtanul-cuda.so is left out")
  return()
endif()

# Every architecture of the list that this nvcc knows, and PTX of the newest for GPUs to come.
execute_process(COMMAND ${TANUL_NVCC} --list-gpu-arch OUTPUT_VARIABLE known
  COMMAND_ERROR_IS_FATAL ANY OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REGEX MATCHALL "[0-9]+" known "${known}")
set(wanted "")
foreach(architecture 75 80 86 89 90 100 120)
  if(architecture IN_LIST known)
    list(APPEND wanted ${architecture})
  endif()
endforeach()
set(TANUL_CUDA_ARCHITECTURES "${wanted}" CACHE STRING
  "Compute capabilities that the CUDA backend has code for; PTX of the last one is added")
list(GET TANUL_CUDA_ARCHITECTURES -1 newest)
set(CMAKE_CUDA_ARCHITECTURES "")
foreach(architecture ${TANUL_CUDA_ARCHITECTURES})
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${architecture}-real)
endforeach()
list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)
list(JOIN TANUL_CUDA_ARCHITECTURES "," architecture_list)

set(CMAKE_CUDA_COMPILER ${TANUL_NVCC})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(TANUL_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${TANUL_CCACHE})
endif()
enable_language(CUDA)
message(STATUS "tanul: CUDA ${CMAKE_CUDA_COMPILER_VERSION}, for ${architecture_list}")

file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS kernels/*_cuda.cu kernels/cuda/*.cpp)
add_library(tanul-cuda MODULE ${cuda_sources})
set_target_properties(tanul-cuda PROPERTIES PREFIX lib LINKER_LANGUAGE CUDA CXX_STANDARD 20
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
target_include_directories(tanul-cuda PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src
  ${PROJECT_SOURCE_DIR})
target_include_directories(tanul-cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# -compress-all: a third of the size.
target_compile_options(tanul-cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wconversion;-Wno-sign-conversion;-O1>
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-Xfatbin=-compress-all;-Xcompiler=-Wall>)
if(TANUL_WERROR)
  target_compile_options(tanul-cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
    $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()
if(TANUL_KERNEL_USAGE)
  target_compile_options(tanul-cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--resource-usage>)
  set(launcher ${PROJECT_SOURCE_DIR}/cmake/keep_usage.sh ${CMAKE_CUDA_COMPILER_LAUNCHER})
  set_target_properties(tanul-cuda PROPERTIES CUDA_COMPILER_LAUNCHER "${launcher}")
endif()
set_source_files_properties(kernels/cuda/module.cpp PROPERTIES COMPILE_DEFINITIONS
  "TANUL_VERSION=\"${PROJECT_VERSION}\";TANUL_CUDA_ARCHITECTURES=${architecture_list};TANUL_CUDA_PTX=${newest}")
# Symbols of the static runtime stay inside; the C++ run time is the one that libtanul.so has loaded.
target_link_options(tanul-cuda PRIVATE LINKER:--exclude-libs,ALL LINKER:--as-needed
  LINKER:--gc-sections LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/exports_module.map)
set_target_properties(tanul-cuda PROPERTIES
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports_module.map)
target_link_libraries(tanul-cuda PRIVATE ${CMAKE_DL_LIBS})
