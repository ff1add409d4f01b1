# Install tree: include/tern, share/cmake/tern, share/pkgconfig. Nothing in it depends on the machine.
# find_package also works on the build tree (-Dtern_DIR=<build>). The component leaves out what a dependency of the tests
# would install, where one was fetched.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(tern_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/tern")

configure_package_config_file(cmake/tern-config.cmake.in tern-config.cmake INSTALL_DESTINATION "${tern_package_dir}")
# While the version starts with 0, a minor version may change the API.
write_basic_package_version_file(tern-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/tern-config.cmake" "${PROJECT_BINARY_DIR}/tern-config-version.cmake"
  DESTINATION "${tern_package_dir}" COMPONENT tern)

# An export file for each adapter, so that the core asks for no package.
install(TARGETS tern EXPORT tern-targets FILE_SET HEADERS COMPONENT tern FILE_SET loops COMPONENT tern)
install(TARGETS tern_eigen EXPORT tern-eigen-targets FILE_SET HEADERS COMPONENT tern)
install(TARGETS tern_tbb EXPORT tern-tbb-targets FILE_SET HEADERS COMPONENT tern)
install(TARGETS tern_safetensors EXPORT tern-safetensors-targets FILE_SET HEADERS COMPONENT tern)
install(TARGETS tern_cuda EXPORT tern-cuda-targets FILE_SET HEADERS COMPONENT tern)
foreach(export tern-targets tern-eigen-targets tern-tbb-targets tern-safetensors-targets tern-cuda-targets)
  install(EXPORT ${export} NAMESPACE tern:: DESTINATION "${tern_package_dir}" COMPONENT tern)
  export(EXPORT ${export} NAMESPACE tern::)
endforeach()

# An absolute CMAKE_INSTALL_INCLUDEDIR, as some distributions set, replaces the prefix; a relative one follows it.
set(tern_pc_includedir "\${prefix}")
cmake_path(APPEND tern_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file(cmake/tern.pc.in tern.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tern.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig" COMPONENT tern)
