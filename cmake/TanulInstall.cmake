# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where: library, public headers, tools, model files, and the two ways by
# which other builds find them: find_package(tanul) and pkg-config.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tanul)

install(TARGETS tanul EXPORT tanulTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET tanul-cuda)
  install(TARGETS tanul-cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/tanul DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT tanulTargets NAMESPACE tanul:: DESTINATION ${package_dir})

configure_package_config_file(cmake/tanulConfig.cmake.in tanulConfig.cmake
  INSTALL_DESTINATION ${package_dir})
# Below 1.0 a minor version may change the interface, as the soname says too.
write_basic_package_version_file(tanulConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tanulConfig.cmake ${PROJECT_BINARY_DIR}/tanulConfigVersion.cmake
  DESTINATION ${package_dir})

# The .pc file finds its prefix from its own place, so that an installed tree can be moved.
file(RELATIVE_PATH TANUL_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/tanul.pc.in tanul.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tanul.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(DIRECTORY examples/models DESTINATION ${CMAKE_INSTALL_DATADIR}/tanul
  FILES_MATCHING PATTERN "*.toml")
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
